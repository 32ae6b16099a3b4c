//! Go's `printf`, as far as values of JSON need it.

use serde_json::Value;

use super::functions::show;

/// Blanks that no column needs.
const MAX_WIDTH: usize = 1 << 10;

/// Formats values by verbs such as `%-20s`, `%05d` and `%.2f`. As in Go, what does not fit is said in the text.
pub fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut place = Place::default();
        while let Some(flag) = characters.next_if(|c| "-+# 0".contains(*c)) {
            place.left |= flag == '-';
            place.zeros |= flag == '0';
            place.sign |= flag == '+';
        }
        let number = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut value = None;
            while let Some(digit) = characters.peek().and_then(|c| c.to_digit(10)) {
                characters.next();
                value = Some((value.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
            }
            value
        };
        place.width = number(&mut characters).unwrap_or(0);
        if characters.next_if_eq(&'.').is_some() {
            place.precision = Some(number(&mut characters).unwrap_or(0));
        }
        match characters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&place.put(verb, value)),
            },
        }
    }
    let extra: Vec<String> = arguments.map(typed).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// Where and how a value is to stand.
#[derive(Default)]
struct Place {
    left: bool,
    zeros: bool,
    sign: bool,
    width: usize,
    precision: Option<usize>,
}

impl Place {
    fn put(&self, verb: char, value: &Value) -> String {
        let text = match (verb, value) {
            ('v', value) => show(value),
            ('s', Value::String(text)) => match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.clone(),
            },
            ('s', Value::Array(_) | Value::Object(_)) => show(value),
            ('q', Value::String(_)) => value.to_string(),
            ('t', Value::Bool(_)) => value.to_string(),
            ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
            ('x', Value::Number(number)) if number.is_u64() => {
                format!("{:x}", number.as_u64().unwrap_or(0))
            }
            ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
            ('f', Value::Number(number)) if number.is_f64() => {
                let digits = self.precision.unwrap_or(6);
                format!("{:.digits$}", number.as_f64().unwrap_or(0.0))
            }
            ('T', value) => kind(value).to_owned(),
            (verb, value) => format!("%!{verb}({})", typed(value)),
        };
        let text = match self.sign && value.is_number() && !text.starts_with('-') {
            true => format!("+{text}"),
            false => text,
        };
        let missing = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zeros && value.is_number()) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => match text.strip_prefix(['-', '+']) {
                Some(digits) => format!("{}{}{digits}", &text[..1], "0".repeat(missing)),
                None => "0".repeat(missing) + &text,
            },
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}

fn typed(value: &Value) -> String {
    format!("{}={}", kind(value), show(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
