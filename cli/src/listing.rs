//! `--format` of the commands that list something: a table, a table of the user's own, JSON, or any other template.

use serde_json::{Map, Value};

use crate::table;
use crate::template::{Template, TemplateError};

/// A field that templates can name, and its column's heading.
pub type Field = (&'static str, &'static str);

/// How a list is to be printed.
#[derive(Debug)]
pub enum Format {
    /// The command's own columns.
    Table,
    /// `table TEMPLATE`: columns between tabs, below their headings.
    OwnTable(Template),
    /// Each element by the template.
    Lines(Template),
}

impl Format {
    /// Reads `table`, `table TEMPLATE`, `json` or a template, which may have `\t` and `\n` in it as shells pass them on.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = |text: &str| {
            let text = text.trim_matches(' ').replace("\\t", "\t");
            Template::parse(&text.replace("\\n", "\n"))
        };
        Ok(match text.strip_prefix("table") {
            Some("") => Self::Table,
            Some(own) => Self::OwnTable(template(own)?),
            None if text == "json" => Self::Lines(template("{{json .}}")?),
            None => Self::Lines(template(text)?),
        })
    }

    /// Prints `elements`, which have all of `fields`; `columns` are those of the table that is nobody's own.
    pub fn print(
        &self,
        fields: &[Field],
        columns: &[&str],
        elements: &[Value],
    ) -> Result<(), TemplateError> {
        table::put(&self.render(fields, columns, elements)?);
        Ok(())
    }

    /// What [`Self::print`] prints.
    pub fn render(
        &self,
        fields: &[Field],
        columns: &[&str],
        elements: &[Value],
    ) -> Result<String, TemplateError> {
        let template = match self {
            Self::Table => {
                let heading = |name: &&str| {
                    let field = fields.iter().find(|(field, _)| field == name);
                    field.map_or(String::new(), |(_, heading)| (*heading).to_owned())
                };
                let rows = elements
                    .iter()
                    .map(|element| columns.iter().map(|name| text(element, name)).collect());
                let heading: Vec<String> = columns.iter().map(heading).collect();
                let all: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
                return Ok(table::render(&all));
            }
            Self::OwnTable(template) => template,
            Self::Lines(template) => {
                let mut text = String::new();
                for element in elements {
                    text += &template.render(element)?;
                    text.push('\n');
                }
                return Ok(text);
            }
        };
        let headings: Map<String, Value> = fields
            .iter()
            .map(|(name, heading)| {
                // A method without a heading makes one of its argument.
                let heading = Some(*heading).filter(|heading| !heading.is_empty());
                ((*name).to_owned(), heading.into())
            })
            .collect();
        let mut lines = vec![template.render(&headings.into())?];
        for element in elements {
            lines.push(template.render(element)?);
        }
        let rows: Vec<Vec<String>> = lines
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect();
        Ok(table::render(&rows))
    }
}

fn text(element: &Value, name: &str) -> String {
    match element.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
