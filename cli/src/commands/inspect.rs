//! `rvm inspect`, `rvm container inspect` and `rvm image inspect`.

use rvm_engine::Engine;
use rvm_engine::image::Images;
use rvm_engine::root::Root;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments_show::{Inspect, ObjectKind};
use crate::failure::Failure;
use crate::template::Template;

/// How what was found is printed.
enum Format {
    /// A list in JSON, for people.
    Pretty,
    /// The same in one line.
    Json,
    Template(Template),
}

impl Format {
    fn parse(text: Option<&str>) -> Result<Self, Failure> {
        Ok(match text {
            None | Some("") => Self::Pretty,
            Some("json") => Self::Json,
            Some(text) => Self::Template(Template::parse(text)?),
        })
    }
}

pub fn run(engine: &Engine, command: &Inspect) -> Result<u8, Failure> {
    each(&command.names, command.format.as_deref(), |name| {
        let kind = command.kind;
        if kind != Some(ObjectKind::Image) {
            match engine.find(name) {
                Ok(container) => return container_value(engine, &container, command.size),
                Err(error) if kind.is_some() || !error.is_not_found() => return Err(error.into()),
                Err(_) => {}
            }
        }
        let images = Images::open(engine.root())?;
        match images.inspect(name) {
            Err(error) if kind.is_none() && error.is_missing() => {
                Err(Failure::new(1, format!("No such object: {name}")))
            }
            result => Ok(result?),
        }
    })
}

pub fn images(root: &Root, names: &[String], format: Option<&str>) -> Result<u8, Failure> {
    let images = Images::open(root)?;
    each(names, format, |name| Ok(images.inspect(name)?))
}

fn container_value(
    engine: &Engine,
    container: &rvm_engine::container::Container,
    size: bool,
) -> Result<Value, Failure> {
    let mut value = engine.inspect(container);
    if size {
        let images = Images::open(engine.root())?;
        let size = engine.size_of(container, Some(&images));
        value["SizeRw"] = size.written.into();
        value["SizeRootFs"] = size.with_image.into();
    }
    // Go's templates know a field that the JSON leaves out.
    if value["State"].get("Health").is_none() {
        value["State"][".Health"] = Value::Null;
    }
    Ok(value)
}

/// Prints what is known of each of several names, and goes on when one is not known.
fn each(
    names: &[String],
    format: Option<&str>,
    look: impl Fn(&str) -> Result<Value, Failure>,
) -> Result<u8, Failure> {
    let format = Format::parse(format)?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match (look(name), &format) {
            (Ok(value), Format::Template(template)) => println!("{}", template.render(&value)?),
            (Ok(value), _) => found.push(value),
            (Err(failure), _) => failures.push(failure),
        }
    }
    match format {
        Format::Pretty => println!("{}", pretty(&json!(found))?),
        Format::Json => println!("{}", crate::template::shown(&json!(found))),
        Format::Template(_) => {}
    }
    for failure in &failures {
        eprintln!("rvm: {failure}");
    }
    Ok((!failures.is_empty()).into())
}

/// As Docker, with four blanks a level.
fn pretty(value: &Value) -> Result<String, Failure> {
    let value = crate::template::shown(value);
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
