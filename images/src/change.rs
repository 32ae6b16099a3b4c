//! Changes to an image's configuration, written as instructions of a Dockerfile: `--change 'CMD ["sh"]'`.

use std::str::FromStr;

use serde_json::{Map, Value, json};

/// One instruction that changes the `config` object of an image configuration (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    instruction: Instruction,
    rest: String,
}

/// Why a text changes nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// Not an instruction that makes sense without a build.
    #[error(
        "{0} is not a valid change command: expected CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR"
    )]
    Instruction(String),
    /// Its arguments are wrong.
    #[error("the change `{change}` cannot be understood: {why}")]
    Arguments {
        /// The instruction.
        change: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Label,
    OnBuild,
    StopSignal,
    User,
    Volume,
    WorkDir,
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let instruction = match &*word.to_ascii_uppercase() {
            "CMD" => Instruction::Cmd,
            "ENTRYPOINT" => Instruction::Entrypoint,
            "ENV" => Instruction::Env,
            "EXPOSE" => Instruction::Expose,
            "LABEL" => Instruction::Label,
            "ONBUILD" => Instruction::OnBuild,
            "STOPSIGNAL" => Instruction::StopSignal,
            "USER" => Instruction::User,
            "VOLUME" => Instruction::Volume,
            "WORKDIR" => Instruction::WorkDir,
            _ => return Err(ChangeError::Instruction(word.to_owned())),
        };
        let change = Self {
            instruction,
            rest: rest.trim().to_owned(),
        };
        // What is wrong with it is to be known before anything is done.
        change.apply(&mut Map::new())?;
        Ok(change)
    }
}

impl Change {
    /// Changes the `config` object of an image configuration.
    pub fn apply(&self, config: &mut Map<String, Value>) -> Result<(), ChangeError> {
        let wrong = |why| ChangeError::Arguments {
            change: self.to_string(),
            why,
        };
        if self.rest.is_empty() {
            return Err(wrong("it needs an argument"));
        }
        let variables = variables(config);
        let words = || words(&self.rest, &variables).map_err(wrong);
        let list = || match exec_form(&self.rest) {
            Some(list) => Ok(list),
            None => words(),
        };
        let one = || match &words()?[..] {
            [word] if !word.is_empty() => Ok(word.clone()),
            _ => Err(wrong("it takes one word")),
        };
        match self.instruction {
            Instruction::Cmd => drop(config.insert("Cmd".into(), command(&self.rest))),
            Instruction::Entrypoint => {
                config.insert("Entrypoint".into(), command(&self.rest));
            }
            Instruction::Env => {
                for (name, value) in pairs(&self.rest, words()?).map_err(wrong)? {
                    set_variable(config, &name, &value);
                }
            }
            Instruction::Label => {
                let labels = pairs(&self.rest, words()?).map_err(wrong)?.into_iter();
                extend(
                    config,
                    "Labels",
                    labels.map(|(name, value)| (name, value.into())),
                );
            }
            Instruction::Expose => {
                let mut all = Vec::new();
                for word in words()? {
                    all.extend(ports(&word).ok_or_else(|| {
                        wrong("a port is a number up to 65535, with /tcp, /udp or /sctp behind it")
                    })?);
                }
                extend(
                    config,
                    "ExposedPorts",
                    all.into_iter().map(|port| (port, json!({}))),
                );
            }
            Instruction::Volume => {
                let all = list()?.into_iter();
                extend(config, "Volumes", all.map(|path| (path, json!({}))));
            }
            Instruction::OnBuild => {
                let all = config.entry("OnBuild").or_insert_with(|| json!([]));
                if let Some(all) = all.as_array_mut() {
                    all.push(self.rest.clone().into());
                }
            }
            Instruction::StopSignal => drop(config.insert("StopSignal".into(), one()?.into())),
            Instruction::User => drop(config.insert("User".into(), one()?.into())),
            Instruction::WorkDir => {
                let before = config.get("WorkingDir").and_then(Value::as_str);
                let folder = join(before.unwrap_or("/"), &one()?);
                config.insert("WorkingDir".into(), folder.into());
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = format!("{:?}", self.instruction).to_uppercase();
        f.write_str(format!("{word} {}", self.rest).trim_end())
    }
}

/// `["a", "b"]`; what is not quite that is for the shell, as with Docker.
fn exec_form(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn command(text: &str) -> Value {
    match exec_form(text) {
        Some(list) => list.into(),
        None => json!(["/bin/sh", "-c", text]),
    }
}

/// Adds to the object `key`, made if there is none.
fn extend(
    config: &mut Map<String, Value>,
    key: &str,
    entries: impl IntoIterator<Item = (String, Value)>,
) {
    let mut object = match config.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.extend(entries);
    config.insert(key.to_owned(), object.into());
}

fn variables(config: &Map<String, Value>) -> Vec<(String, String)> {
    let all = config.get("Env").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|pair| pair.as_str()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn set_variable(config: &mut Map<String, Value>, name: &str, value: &str) {
    let mut all = variables(config);
    match all.iter_mut().find(|(other, _)| other == name) {
        Some(known) => value.clone_into(&mut known.1),
        None => all.push((name.to_owned(), value.to_owned())),
    }
    let all: Vec<String> = all.iter().map(|(n, v)| format!("{n}={v}")).collect();
    config.insert("Env".into(), all.into());
}

/// `a=1 b=2`, or, as once written, `a all the rest`.
fn pairs(text: &str, words: Vec<String>) -> Result<Vec<(String, String)>, &'static str> {
    if let Some((name, value)) = text.split_once(char::is_whitespace)
        && !name.contains('=')
    {
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err("expected name=value"),
        })
        .collect()
}

/// `80`, `53/udp` or `8000-8010/tcp`, each port with its protocol.
fn ports(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let known = matches!(&*protocol, "tcp" | "udp" | "sctp");
    (known && first <= last).then(|| {
        (first..=last)
            .map(|port| format!("{port}/{protocol}"))
            .collect()
    })
}

fn join(before: &str, folder: &str) -> String {
    let path = format!("{before}/{folder}");
    let path = if folder.starts_with('/') {
        folder
    } else {
        &path
    };
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// The words of an instruction: quotes and backslashes do what they do in a Dockerfile, `$name` and `${name}`
/// give the variables set so far.
fn words(text: &str, variables: &[(String, String)]) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            (mark @ ('\'' | '"'), None) => {
                quote = Some(mark);
                word.get_or_insert_default();
            }
            (mark, Some(open)) if mark == open => quote = None,
            ('\\', None | Some('"')) => {
                let next = characters
                    .next()
                    .ok_or("nothing stands behind its last backslash")?;
                let word = word.get_or_insert_default();
                if quote.is_some() && !matches!(next, '"' | '\\' | '$') {
                    word.push('\\');
                }
                word.push(next);
            }
            ('$', None | Some('"')) => {
                let value = variable(&mut characters, variables)?;
                word.get_or_insert_default().push_str(&value);
            }
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// The value of the variable whose name comes behind a `$`.
fn variable(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    variables: &[(String, String)],
) -> Result<String, &'static str> {
    let is_in_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let braced = characters.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(character) = characters.next_if(is_in_name) {
        name.push(character);
    }
    if braced && characters.next() != Some('}') {
        return Err("of variables only $name and ${name} are understood");
    }
    if name.is_empty() {
        return if braced {
            Err("a variable has no name")
        } else {
            Ok("$".to_owned())
        };
    }
    let value = variables.iter().find(|(other, _)| *other == name);
    Ok(value.map_or(String::new(), |(_, value)| value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changes: &[&str]) -> Value {
        let mut config = Map::new();
        for change in changes {
            change
                .parse::<Change>()
                .unwrap()
                .apply(&mut config)
                .unwrap();
        }
        Value::Object(config)
    }

    #[test]
    fn instructions_mean_what_they_mean_in_a_dockerfile() {
        assert_eq!(
            config(&[
                "ENV A=1 B=\"two words\" C=it\\'s",
                "env PATH /bin with blanks",
                "ENV D=$A-${B}-$none A='$A'",
                r#"CMD ["sh", "-c", "x"]"#,
                "ENTRYPOINT exec /init --flag",
                "EXPOSE 80 53/udp 8000-8001/TCP",
                r#"LABEL a.b="c d" e=f"#,
                r#"VOLUME ["/data", "/more"]"#,
                "VOLUME /third",
                "WORKDIR /srv",
                "WORKDIR ../opt/./app",
                "USER 1000:1000",
                "STOPSIGNAL SIGINT",
                "ONBUILD RUN make",
            ]),
            json!({
                "Env": ["A=$A", "B=two words", "C=it's", "PATH=/bin with blanks", "D=1-two words-"],
                "Cmd": ["sh", "-c", "x"],
                "Entrypoint": ["/bin/sh", "-c", "exec /init --flag"],
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}},
                "Labels": {"a.b": "c d", "e": "f"},
                "Volumes": {"/data": {}, "/more": {}, "/third": {}},
                "WorkingDir": "/opt/app",
                "User": "1000:1000",
                "StopSignal": "SIGINT",
                "OnBuild": ["RUN make"],
            })
        );
    }

    #[test]
    fn what_changes_nothing_is_refused() {
        for (text, why) in [
            ("RUN make", "RUN is not a valid change command"),
            ("", "is not a valid change command"),
            ("CMD", "`CMD` cannot be understood: it needs an argument"),
            ("ENV a", "expected name=value"),
            ("ENV a=\"b", "not closed"),
            ("ENV a=${b:-c}", "only $name and ${name}"),
            ("EXPOSE 70000", "up to 65535"),
            (
                "USER a b",
                "`USER a b` cannot be understood: it takes one word",
            ),
        ] {
            let err = text.parse::<Change>().unwrap_err().to_string();
            assert!(err.contains(why), "{text}: {err}");
        }
    }
}
