//! Filling a template in.

use serde_json::Value;

use super::functions::{call, is_hidden, is_true, show};
use super::parse::{Condition, Node, Operand, Pipeline};
use super::{TemplateError, error};

/// Renders `nodes` with `value` as the dot.
pub fn render(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut state = State {
        variables: vec![(String::new(), value.clone())],
        out: String::new(),
    };
    match state.walk(nodes, value)? {
        Flow::On => Ok(state.out),
        Flow::Break | Flow::Continue => error("break and continue stand in a range only"),
    }
}

struct State {
    variables: Vec<(String, Value)>,
    out: String,
}

/// Whether what follows in the block is to be walked too.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl State {
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        // Variables go out of sight with the block that they are declared in.
        let seen = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(seen);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.out.push_str(&match (&value, &pipeline[..]) {
                    (Value::Null, [command]) => show_nil(command),
                    _ => show(&value),
                });
            }
            Node::Declare(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.variables.push((name.clone(), value));
            }
            Node::Assign(name, pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                let mut all = self.variables.iter_mut().rev();
                match all.find(|(other, _)| other == name) {
                    Some((_, old)) => *old = value,
                    None => return error(format!("undefined variable \"${name}\"")),
                }
            }
            Node::If(condition, body, otherwise) => {
                return self.condition(condition, body, otherwise, dot, false);
            }
            Node::With(condition, body, otherwise) => {
                return self.condition(condition, body, otherwise, dot, true);
            }
            Node::Range(key, element, pipeline, body, otherwise) => {
                let elements = elements(self.pipeline(pipeline, dot)?)?;
                if elements.is_empty() {
                    return self.walk(otherwise, dot);
                }
                let seen = self.variables.len();
                for (index, value) in elements {
                    self.variables.extend(key.clone().map(|name| (name, index)));
                    self.variables
                        .extend(element.clone().map(|name| (name, value.clone())));
                    let flow = self.walk(body, &value)?;
                    self.variables.truncate(seen);
                    if flow == Flow::Break {
                        break;
                    }
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn condition(
        &mut self,
        condition: &Condition,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
        is_with: bool,
    ) -> Result<Flow, TemplateError> {
        let value = self.pipeline(&condition.pipeline, dot)?;
        let seen = self.variables.len();
        let variable = condition.variable.clone();
        self.variables
            .extend(variable.map(|name| (name, value.clone())));
        let flow = match (is_true(&value), is_with) {
            (true, true) => self.walk(body, &value),
            (true, false) => self.walk(body, dot),
            (false, _) => self.walk(otherwise, dot),
        };
        self.variables.truncate(seen);
        flow
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last: Option<Value> = None;
        for command in pipeline {
            let Some((first, rest)) = command.split_first() else {
                return error("missing value for command");
            };
            if let Operand::Function(name) = first
                && matches!(&**name, "and" | "or")
            {
                last = Some(self.decide(name == "or", rest, last.take(), dot)?);
                continue;
            }
            let mut arguments = rest
                .iter()
                .map(|operand| self.operand(operand, dot))
                .collect::<Result<Vec<_>, _>>()?;
            arguments.extend(last.take());
            last = Some(match first {
                Operand::Function(name) => call(name, &arguments)?,
                _ if arguments.is_empty() => self.operand(first, dot)?,
                Operand::Field(_) | Operand::Variable(..) => {
                    method(&self.operand(first, dot)?, &arguments)?
                }
                _ => return error("can't give argument to non-function"),
            });
        }
        Ok(last.unwrap_or_default())
    }

    /// `and` and `or`, which look no further than they have to.
    fn decide(
        &self,
        wanted: bool,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let mut value = None;
        for operand in operands {
            let next = self.operand(operand, dot)?;
            if is_true(&next) == wanted {
                return Ok(next);
            }
            value = Some(next);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => error("wrong number of args for and, or: want at least 1 got 0"),
        }
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

/// What a range goes through: indices and elements, or keys, in order, and values.
fn elements(value: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    match value {
        Value::Array(all) => Ok(all
            .into_iter()
            .enumerate()
            .map(|(i, value)| (i.into(), value))
            .collect()),
        Value::Object(all) => {
            let mut all: Vec<_> = all.into_iter().filter(|(key, _)| !is_hidden(key)).collect();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(all
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect())
        }
        Value::Null => Ok(Vec::new()),
        Value::Number(number) if number.is_u64() => Ok((0..number.as_u64().unwrap_or(0))
            .map(|i| (i.into(), i.into()))
            .collect()),
        other => error(format!("range can't iterate over {}", show(&other))),
    }
}

/// What `path` leads to. A name with a capital letter is a field, which has to be there; others are keys.
fn fields(value: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = value;
    for name in path {
        value = match value {
            Value::Object(map) => match map.get(name).or_else(|| map.get(&format!(".{name}"))) {
                Some(value) => value,
                None if name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    return error(format!("map has no entry for key \"{name}\""));
                }
                None => &Value::Null,
            },
            Value::Null => return error(format!("nil pointer evaluating {name}")),
            other => return error(format!("can't evaluate field {name} in {}", show(other))),
        };
    }
    Ok(value.clone())
}

/// Calls what a field holds with an argument: of a map, that key's value. Nothing at all stands for the heading of a table,
/// where Docker writes the last part of the key.
fn method(value: &Value, arguments: &[Value]) -> Result<Value, TemplateError> {
    let [key] = arguments else {
        return error("wrong number of args for a method: want 1");
    };
    let key = show(key);
    match value {
        Value::Object(map) => Ok(map.get(&key).cloned().unwrap_or_else(|| "".into())),
        Value::Null => {
            let last = key.rsplit('.').next().unwrap_or_default();
            Ok(last.replace(['-', '_'], " ").into())
        }
        other => error(format!("can't give argument to {}", show(other))),
    }
}

/// What Go prints for a field that holds nothing, by the type that the field has in Docker's API: most are lists.
fn show_nil(command: &[Operand]) -> String {
    let name = match command {
        [Operand::Field(path) | Operand::Variable(_, path)] => path.last(),
        _ => None,
    };
    match name.map(String::as_str) {
        Some("Health" | "Init" | "MemorySwappiness" | "OomKillDisable" | "PidsLimit") => "<nil>",
        Some("Volumes" | "Labels" | "Sysctls" | "ExposedPorts") => "map[]",
        Some(name) if name.starts_with(|c: char| c.is_ascii_uppercase()) => "[]",
        _ => "<no value>",
    }
    .to_owned()
}
