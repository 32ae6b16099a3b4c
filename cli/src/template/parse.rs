//! From text to nodes: actions in `{{` and `}}`, and what stands between them.

use serde_json::Value;

use super::{TemplateError, error};

/// Nesting that no template has.
const MAX_DEPTH: usize = 50;

/// A part of a template.
#[derive(Debug)]
pub enum Node {
    Text(String),
    /// A pipeline whose value is printed.
    Print(Pipeline),
    /// `$name := pipeline`
    Declare(String, Pipeline),
    /// `$name = pipeline`
    Assign(String, Pipeline),
    If(Condition, Vec<Node>, Vec<Node>),
    With(Condition, Vec<Node>, Vec<Node>),
    /// Names for key and element, what to walk, what for each, what for none.
    Range(
        Option<String>,
        Option<String>,
        Pipeline,
        Vec<Node>,
        Vec<Node>,
    ),
    Break,
    Continue,
}

/// What an `if` or a `with` asks for, and the variable that holds it.
#[derive(Debug)]
pub struct Condition {
    pub variable: Option<String>,
    pub pipeline: Pipeline,
}

/// Commands, each with the value of the one before it as its last argument.
pub type Pipeline = Vec<Vec<Operand>>;

/// A word of a command.
#[derive(Debug)]
pub enum Operand {
    Literal(Value),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`; the name is empty for `$`.
    Variable(String, Vec<String>),
    Function(String),
    Nested(Pipeline, Vec<String>),
}

enum Piece {
    Text(String),
    Action(Vec<String>),
}

pub fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some(words) => error(format!("unexpected {{{{{}}}}}", words.join(" "))),
    }
}

/// Cuts the text at its actions; `{{-` and `-}}` take the blanks beside them away.
fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some((before, after)) = rest.split_once("{{") {
        let (before, after) = match after.strip_prefix("- ") {
            Some(after) => (before.trim_end(), after),
            None => (before, after),
        };
        pieces.push(Piece::Text(
            if trim { before.trim_start() } else { before }.to_owned(),
        ));
        let end = action_end(after)?;
        let action = &after[..end];
        rest = &after[end + 2..];
        trim = action.ends_with(" -");
        let action = if trim {
            &action[..action.len() - 2]
        } else {
            action
        }
        .trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(words(action)?));
        }
    }
    pieces.push(Piece::Text(
        if trim { rest.trim_start() } else { rest }.to_owned(),
    ));
    Ok(pieces)
}

/// Where `}}` is, outside of quotes.
fn action_end(text: &str) -> Result<usize, TemplateError> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), close) if open == close && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if text[at..].starts_with("}}") => return Ok(at),
            _ => {}
        }
        escaped = false;
    }
    error("unclosed action")
}

/// The words of an action: quoted texts, parentheses, `|`, `,`, `:=` and everything between blanks.
fn words(action: &str) -> Result<Vec<String>, TemplateError> {
    let mut words = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '|' | ',' => 1,
            ':' if rest.starts_with(":=") => 2,
            '"' => string_end(rest)?,
            '`' => match rest[1..].find('`') {
                Some(end) => end + 2,
                None => return error("unterminated raw quoted string"),
            },
            _ => rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| c.is_whitespace() || "()|,:\"`".contains(*c))
                .map_or(rest.len(), |(at, _)| at),
        };
        words.push(rest[..length].to_owned());
        let behind = &rest[length..];
        rest = behind.trim_start();
        // `(…).Field` belongs together; ` .Field` is another argument.
        if first == ')' && behind.starts_with('.') {
            words.push("&".to_owned());
        }
    }
    Ok(words)
}

fn string_end(text: &str) -> Result<usize, TemplateError> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Ok(at + 1),
            _ => escaped = false,
        }
    }
    error("unterminated quoted string")
}

type Pieces = std::vec::IntoIter<Piece>;

/// Nodes up to an `{{end}}` or `{{else …}}`, which is returned, or to the template's end.
fn block(
    pieces: &mut Pieces,
    depth: usize,
) -> Result<(Vec<Node>, Option<Vec<String>>), TemplateError> {
    if depth > MAX_DEPTH {
        return error("it is nested too deeply");
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let words = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(words) => words,
        };
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        match texts[..] {
            [] => return error("missing value for command"),
            ["end" | "else", ..] => return Ok((nodes, Some(words))),
            ["if" | "with" | "range", ..] => nodes.push(control(&texts, pieces, depth)?),
            ["break"] => nodes.push(Node::Break),
            ["continue"] => nodes.push(Node::Continue),
            [name, ":=", ref rest @ ..] if name.starts_with('$') => {
                nodes.push(Node::Declare(name[1..].to_owned(), pipeline(rest)?));
            }
            [name, "=", ref rest @ ..] if name.starts_with('$') => {
                nodes.push(Node::Assign(name[1..].to_owned(), pipeline(rest)?));
            }
            _ => nodes.push(Node::Print(pipeline(&texts)?)),
        }
    }
    Ok((nodes, None))
}

fn control(texts: &[&str], pieces: &mut Pieces, depth: usize) -> Result<Node, TemplateError> {
    let (key, element, rest) = match texts[1..] {
        [key, ",", element, ":=", ref rest @ ..] if texts[0] == "range" => {
            (Some(key), Some(element), rest)
        }
        [element, ":=", ref rest @ ..] => (None, Some(element), rest),
        ref rest => (None, None, rest),
    };
    let pipeline = pipeline(rest)?;
    let (body, end) = block(pieces, depth + 1)?;
    let end = end.unwrap_or_default();
    let end: Vec<&str> = end.iter().map(String::as_str).collect();
    let otherwise = match end[..] {
        ["end"] => Vec::new(),
        ["else"] => match block(pieces, depth + 1)? {
            (nodes, Some(end)) if end == ["end"] => nodes,
            _ => return error("unexpected EOF"),
        },
        ["else", "if" | "with", ..] => vec![control(&end[1..], pieces, depth + 1)?],
        _ => return error("unexpected EOF"),
    };
    let name = |name: Option<&str>| name.map(|name| name.trim_start_matches('$').to_owned());
    let (key, element) = (name(key), name(element));
    let condition = |pipeline| Condition {
        variable: element.clone(),
        pipeline,
    };
    Ok(match texts[0] {
        "if" => Node::If(condition(pipeline), body, otherwise),
        "with" => Node::With(condition(pipeline), body, otherwise),
        _ => Node::Range(key, element, pipeline, body, otherwise),
    })
}

fn pipeline(texts: &[&str]) -> Result<Pipeline, TemplateError> {
    let mut rest = texts;
    let pipeline = commands(&mut rest, 0)?;
    match rest {
        [] => Ok(pipeline),
        [word, ..] => error(format!("unexpected <{word}>")),
    }
}

fn commands(rest: &mut &[&str], depth: usize) -> Result<Pipeline, TemplateError> {
    if depth > MAX_DEPTH {
        return error("it is nested too deeply");
    }
    let mut pipeline = vec![Vec::new()];
    while let [word, after @ ..] = *rest {
        if *word == ")" {
            break;
        }
        *rest = after;
        let operand = match *word {
            "|" => {
                pipeline.push(Vec::new());
                continue;
            }
            "(" => {
                let nested = commands(rest, depth + 1)?;
                let [")", after @ ..] = *rest else {
                    return error("unclosed left paren");
                };
                *rest = after;
                let mut path = Vec::new();
                if let ["&", fields, after @ ..] = *rest {
                    path = field_names(fields);
                    *rest = after;
                }
                Operand::Nested(nested, path)
            }
            word => operand(word)?,
        };
        if let Some(command) = pipeline.last_mut() {
            command.push(operand);
        }
    }
    if pipeline.iter().any(Vec::is_empty) {
        return error("missing value for command");
    }
    Ok(pipeline)
}

fn operand(word: &str) -> Result<Operand, TemplateError> {
    if let Some(path) = word.strip_prefix('$') {
        let (name, path) = path.split_once('.').unwrap_or((path, ""));
        return Ok(Operand::Variable(name.to_owned(), field_names(path)));
    }
    if word.starts_with('.') {
        return Ok(Operand::Field(field_names(word)));
    }
    if let Some(raw) = word.strip_prefix('`') {
        return Ok(Operand::Literal(raw.trim_end_matches('`').into()));
    }
    // Go's quoted strings and numbers are JSON's, as far as anybody writes them here.
    match (word, serde_json::from_str::<Value>(word)) {
        ("nil", _) => Ok(Operand::Literal(Value::Null)),
        (_, Ok(value)) => Ok(Operand::Literal(value)),
        (word, Err(_)) if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Ok(Operand::Function(word.to_owned()))
        }
        _ => error(format!("unexpected <{word}>")),
    }
}

fn field_names(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
