//! Filling a template in.

use serde_json::Value;

use super::functions::{call, is_true, show};
use super::parse::{Node, Operand, Pipeline};
use super::{TemplateError, error};

/// Renders `nodes` with `value` as the dot.
pub fn render(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut state = State {
        variables: vec![(String::new(), value.clone())],
        out: String::new(),
    };
    state.walk(nodes, value)?;
    Ok(state.out)
}

struct State {
    variables: Vec<(String, Value)>,
    out: String,
}

impl State {
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        // Variables go out of sight with the block that they are set in.
        let seen = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(seen);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.out.push_str(&show(&value));
            }
            Node::Set(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.variables.push((name.clone(), value));
            }
            Node::If(condition, body, otherwise) => {
                let value = self.pipeline(condition, dot)?;
                self.walk(if is_true(&value) { body } else { otherwise }, dot)?;
            }
            Node::With(condition, body, otherwise) => {
                let value = self.pipeline(condition, dot)?;
                if is_true(&value) {
                    self.walk(body, &value)?;
                } else {
                    self.walk(otherwise, dot)?;
                }
            }
            Node::Range(key, element, pipeline, body, otherwise) => {
                let elements: Vec<(Value, Value)> = match self.pipeline(pipeline, dot)? {
                    Value::Array(all) => all
                        .into_iter()
                        .enumerate()
                        .map(|(i, value)| (i.into(), value))
                        .collect(),
                    Value::Object(all) => {
                        let mut all: Vec<_> = all.into_iter().collect();
                        all.sort_by(|(a, _), (b, _)| a.cmp(b));
                        all.into_iter()
                            .map(|(key, value)| (key.into(), value))
                            .collect()
                    }
                    Value::Null => Vec::new(),
                    other => return error(format!("range can't iterate over {}", show(&other))),
                };
                if elements.is_empty() {
                    self.walk(otherwise, dot)?;
                }
                let seen = self.variables.len();
                for (index, value) in elements {
                    self.variables.extend(key.clone().map(|name| (name, index)));
                    self.variables
                        .extend(element.clone().map(|name| (name, value.clone())));
                    self.walk(body, &value)?;
                    self.variables.truncate(seen);
                }
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last: Option<Value> = None;
        for command in pipeline {
            let Some((first, rest)) = command.split_first() else {
                return error("missing value for command");
            };
            let mut arguments = rest
                .iter()
                .map(|operand| self.operand(operand, dot))
                .collect::<Result<Vec<_>, _>>()?;
            arguments.extend(last.take());
            last = Some(match first {
                Operand::Function(name) => call(name, &arguments)?,
                _ if arguments.is_empty() => self.operand(first, dot)?,
                _ => return error("can't give argument to non-function"),
            });
        }
        Ok(last.unwrap_or_default())
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => fields(dot, path),
            Operand::Variable(name, path) => {
                let mut all = self.variables.iter().rev();
                match all.find(|(other, _)| other == name) {
                    Some((_, value)) => fields(value, path),
                    None => error(format!("undefined variable \"${name}\"")),
                }
            }
            Operand::Function(name) => call(name, &[]),
            Operand::Nested(pipeline, path) => fields(&self.pipeline(pipeline, dot)?, path),
        }
    }
}

/// What `path` leads to. A name with a capital letter is a field, which has to be there; others are keys.
fn fields(value: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = value;
    for name in path {
        value = match value {
            Value::Object(map) => match map.get(name) {
                Some(value) => value,
                None if name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    return error(format!("map has no entry for key \"{name}\""));
                }
                None => &Value::Null,
            },
            Value::Null => &Value::Null,
            other => return error(format!("can't evaluate field {name} in {}", show(other))),
        };
    }
    Ok(value.clone())
}
