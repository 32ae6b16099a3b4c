//! The functions of Go's templates, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::printf::printf;
use super::{TemplateError, error};

/// Calls a function.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let text = |value: &Value| show(value);
    let words = || arguments.iter().map(show).collect::<Vec<_>>().join(" ");
    Ok(match (name, arguments) {
        ("json", [value]) => json(value)?.into(),
        ("len", [Value::Array(all)]) => all.len().into(),
        ("len", [Value::Object(all)]) => all.keys().filter(|key| !is_hidden(key)).count().into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("slice", [value, bounds @ ..]) => slice(value, bounds)?,
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
        ("title", [value]) => title(&text(value)).into(),
        ("pad", [value, before, after]) => match text(value) {
            // Docker pads nothing with nothing.
            empty if empty.is_empty() => empty.into(),
            text => format!("{}{text}{}", blanks(before), blanks(after)).into(),
        },
        ("truncate", [value, length]) => {
            let length = length
                .as_u64()
                .and_then(|length| usize::try_from(length).ok())
                .unwrap_or(usize::MAX);
            text(value).chars().take(length).collect::<String>().into()
        }
        ("print", _) => print(arguments).into(),
        ("println", _) => (words() + "\n").into(),
        ("printf", [format, rest @ ..]) => printf(&text(format), rest).into(),
        ("html", _) => html(&print(arguments)).into(),
        ("js", _) => js(&print(arguments)).into(),
        ("urlquery", _) => urlquery(&print(arguments)).into(),
        ("not", [value]) => (!is_true(value)).into(),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            let mut is_any = false;
            for other in rest {
                is_any |= equal(first, other)?;
            }
            is_any.into()
        }
        ("ne", [a, b]) => (!equal(a, b)?).into(),
        ("lt", [a, b]) => (compare(a, b)? == Ordering::Less).into(),
        ("le", [a, b]) => (compare(a, b)? != Ordering::Greater).into(),
        ("gt", [a, b]) => (compare(a, b)? == Ordering::Greater).into(),
        ("ge", [a, b]) => (compare(a, b)? != Ordering::Less).into(),
        (
            "json" | "len" | "index" | "slice" | "join" | "split" | "lower" | "upper" | "title"
            | "pad" | "truncate" | "printf" | "not" | "and" | "or" | "eq" | "ne" | "lt" | "le"
            | "gt" | "ge",
            _,
        ) => {
            return error(format!(
                "error calling {name}: wrong number or type of args"
            ));
        }
        _ => return error(format!("function \"{name}\" not defined")),
    })
}

/// Whether a key of a map is for templates alone: a field that Docker leaves out where it holds nothing, or a method.
pub fn is_hidden(key: &str) -> bool {
    key.starts_with('.')
}

/// As Go's `%v` prints it.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(show).collect::<Vec<_>>().join(" ")),
        // What is a structure in Docker's API, and printed with what it is in: a port's binding.
        Value::Object(all) if all.keys().eq(["HostIp", "HostPort"]) => {
            let values: Vec<String> = all.values().map(show).collect();
            format!("{{{}}}", values.join(" "))
        }
        Value::Object(all) => {
            let element = |value: &Value| match value {
                Value::Object(empty) if empty.is_empty() => "{}".to_owned(),
                value => show(value),
            };
            let mut pairs: Vec<String> = all
                .iter()
                .filter(|(key, _)| !is_hidden(key))
                .map(|(key, value)| format!("{key}:{}", element(value)))
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

/// Go puts blanks between values of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&show(value));
    }
    out
}

/// Go escapes what could end a script in a page.
fn json(value: &Value) -> Result<String, TemplateError> {
    let value = shown_alone(value.clone());
    match serde_json::to_string(&value) {
        Ok(text) => Ok(text
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")),
        Err(err) => error(err.to_string()),
    }
}

/// Without what is hidden.
pub fn shown_alone(value: Value) -> Value {
    match value {
        Value::Object(all) => all
            .into_iter()
            .filter(|(key, _)| !is_hidden(key))
            .map(|(key, value)| (key, shown_alone(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(all) => all.into_iter().map(shown_alone).collect(),
        other => other,
    }
}

fn title(text: &str) -> String {
    let mut out = String::new();
    let mut in_word = false;
    for character in text.chars() {
        if in_word {
            out.push(character);
        } else {
            out.extend(character.to_uppercase());
        }
        in_word = character.is_alphanumeric() || character == '_' || character == '\'';
    }
    out
}

fn blanks(count: &Value) -> String {
    let count = count.as_u64().and_then(|count| usize::try_from(count).ok());
    " ".repeat(count.unwrap_or(0).min(1 << 10))
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\\' | '\'' | '"' => out.extend(['\\', character]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            other if other.is_control() => {
                out.push_str(&format!("\\u{:04X}", u32::from(other)));
            }
            other => out.push(other),
        }
    }
    out
}

/// A text as it stands in the query of an address.
pub fn urlquery(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into());
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
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

/// `slice x 1 2`: what stands from the first bound to before the second one; texts are counted in bytes.
fn slice(value: &Value, bounds: &[Value]) -> Result<Value, TemplateError> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.len(),
        other => return error(format!("error calling slice: can't slice {}", show(other))),
    };
    let mut range = [0, length];
    if bounds.len() > range.len() {
        return error("error calling slice: too many slice indexes");
    }
    for (place, bound) in range.iter_mut().zip(bounds) {
        let bound = bound
            .as_u64()
            .and_then(|bound| usize::try_from(bound).ok())
            .filter(|bound| *bound <= length);
        match bound {
            Some(bound) => *place = bound,
            None => return error("error calling slice: index out of range"),
        }
    }
    let [from, to] = range;
    let cut = match value {
        Value::String(text) => text.get(from..to).map(Value::from),
        Value::Array(all) => all.get(from..to).map(|part| part.to_vec().into()),
        _ => None,
    };
    cut.map_or_else(|| error("error calling slice: invalid slice index"), Ok)
}

fn equal(a: &Value, b: &Value) -> Result<bool, TemplateError> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::Number(_), Value::Number(_)) => Ok(compare(a, b)? == Ordering::Equal),
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => Ok(a == b),
        _ => error("incompatible types for comparison"),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, TemplateError> {
    let ordering = match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64().partial_cmp(&b.as_f64()),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    ordering.map_or_else(|| error("incompatible types for comparison"), Ok)
}
