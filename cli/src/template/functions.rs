//! The functions of Go's templates, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::{TemplateError, error};

/// Calls a function.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let text = |value: &Value| show(value);
    let words = || arguments.iter().map(show).collect::<Vec<_>>().join(" ");
    Ok(match (name, arguments) {
        ("json", [value]) => json(value)?.into(),
        ("len", [Value::Array(all)]) => all.len().into(),
        ("len", [Value::Object(all)]) => all.len().into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("join", [Value::Array(all), separator]) => all
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(&text(separator))
            .into(),
        ("join", [Value::Null, _]) => "".into(),
        ("split", [value, separator]) => text(value)
            .split(&text(separator))
            .map(Value::from)
            .collect::<Vec<_>>()
            .into(),
        ("lower", [value]) => text(value).to_lowercase().into(),
        ("upper", [value]) => text(value).to_uppercase().into(),
        ("title", [value]) => {
            let text = text(value);
            let mut characters = text.chars();
            characters
                .next()
                .map_or(String::new(), |first| {
                    first.to_uppercase().chain(characters).collect()
                })
                .into()
        }
        ("truncate", [value, length]) => {
            let length = length
                .as_u64()
                .and_then(|length| usize::try_from(length).ok())
                .unwrap_or(usize::MAX);
            text(value).chars().take(length).collect::<String>().into()
        }
        ("print", _) => words().into(),
        ("println", _) => (words() + "\n").into(),
        ("printf", [format, rest @ ..]) => printf(&text(format), rest)?.into(),
        ("not", [value]) => (!is_true(value)).into(),
        ("and", [first, ..]) => arguments
            .iter()
            .find(|value| !is_true(value))
            .or(arguments.last())
            .unwrap_or(first)
            .clone(),
        ("or", [first, ..]) => arguments
            .iter()
            .find(|value| is_true(value))
            .or(arguments.last())
            .unwrap_or(first)
            .clone(),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => rest.contains(first).into(),
        ("ne", [a, b]) => (a != b).into(),
        ("lt", [a, b]) => (compare(a, b)? == Ordering::Less).into(),
        ("le", [a, b]) => (compare(a, b)? != Ordering::Greater).into(),
        ("gt", [a, b]) => (compare(a, b)? == Ordering::Greater).into(),
        ("ge", [a, b]) => (compare(a, b)? != Ordering::Less).into(),
        (
            "json" | "len" | "index" | "join" | "split" | "lower" | "upper" | "title" | "truncate"
            | "printf" | "not" | "and" | "or" | "eq" | "ne" | "lt" | "le" | "gt" | "ge",
            _,
        ) => {
            return error(format!(
                "error calling {name}: wrong number or type of args"
            ));
        }
        _ => return error(format!("function \"{name}\" not defined")),
    })
}

/// As Go's `%v` prints it.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(all) => {
            let mut pairs: Vec<String> = all
                .iter()
                .map(|(key, value)| format!("{key}:{}", show(value)))
                .collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// What `if` takes for true: everything but what is empty.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
    }
}

/// Go escapes what could end a script in a page.
fn json(value: &Value) -> Result<String, TemplateError> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(text
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")),
        Err(err) => error(err.to_string()),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, TemplateError> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Array(all), Value::Number(number)) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
                match at.and_then(|at| all.get(at)) {
                    Some(value) => value.clone(),
                    None => {
                        return error(format!("error calling index: index out of range: {number}"));
                    }
                }
            }
            // A map of texts gives the empty text for what it does not have.
            (Value::Object(all), Value::String(name)) => {
                all.get(name).cloned().unwrap_or_else(|| "".into())
            }
            (Value::Null, _) => return error("error calling index: index of untyped nil"),
            (other, key) => {
                return error(format!(
                    "error calling index: {} can't index {}",
                    show(key),
                    show(other)
                ));
            }
        };
    }
    Ok(value)
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, TemplateError> {
    let ordering = match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    ordering.map_or_else(|| error("incompatible types for comparison"), Ok)
}

/// `%s`, `%v`, `%d`, `%q` and `%%`.
fn printf(format: &str, arguments: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('%') => out.push('%'),
            Some(verb @ ('s' | 'v' | 'd' | 'q')) => match arguments.next() {
                Some(value) if verb == 'q' => out.push_str(&Value::from(show(value)).to_string()),
                Some(value) => out.push_str(&show(value)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
            _ => return error("printf knows %s, %v, %d, %q and %% here"),
        }
    }
    Ok(out)
}
