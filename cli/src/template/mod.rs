//! Go's templates (`text/template`) over JSON, as far as scripts use them in `--format`.
//!
//! Our own because the crates there are run `{{else}}` after a `{{range}}` that had elements, and walk maps in a random order.

mod evaluate;
mod functions;
mod parse;
mod printf;

pub use functions::urlquery;

use serde_json::Value;

use parse::Node;

/// A template, ready to be filled in.
#[derive(Debug)]
pub struct Template(Vec<Node>);

/// A template that is none, or that does not suit what it is filled in with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("template parsing error: {0}")]
pub struct TemplateError(String);

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(Self)
    }

    /// Fills it in with `value` as the dot.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.0, value)
    }
}

/// A value without what is in it for templates alone.
pub fn shown(value: &Value) -> Value {
    functions::shown_alone(value.clone())
}

fn error<T>(text: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(text.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, TemplateError> {
        let image = json!({
            "Id": "sha256:1", "RepoTags": ["a:1", "b:2"], "Size": 12, "Empty": [],
            ".Health": null, ".Label": {"a.x": "y"}, "Entrypoint": null, "Running": true,
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": {}},
            "Config": {"Cmd": ["sh", "-c"], "Labels": {"a.x": "<1>", "b": "2"}, "User": ""},
        });
        Template::parse(template)?.render(&image)
    }

    #[test]
    fn what_scripts_write_gives_what_go_gives() {
        for (template, text) in [
            ("{{.Id}}", "sha256:1"),
            ("x {{ .Size }} y", "x 12 y"),
            ("{{json .Config.Cmd}}", r#"["sh","-c"]"#),
            (
                "{{json .Config.Labels}}",
                r#"{"a.x":"\u003c1\u003e","b":"2"}"#,
            ),
            (
                "{{.RepoTags}} {{.Config.Labels}}",
                "[a:1 b:2] map[a.x:<1> b:2]",
            ),
            ("{{range .RepoTags}}{{.}},{{end}}", "a:1,b:2,"),
            (
                "{{range $i, $tag := .RepoTags}}{{$i}}={{$tag}} {{$.Size}};{{end}}",
                "0=a:1 12;1=b:2 12;",
            ),
            (
                "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
                "a.x=<1>;b=2;",
            ),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{range .RepoTags}}x{{else}}none{{end}}", "xx"),
            (
                "{{index .RepoTags 1}} {{index .Config.Labels \"a.x\"}}",
                "b:2 <1>",
            ),
            ("{{(index .RepoTags 0)}}", "a:1"),
            ("{{len .RepoTags}}", "2"),
            ("{{join .Config.Cmd \" \"}}", "sh -c"),
            ("{{.Id | upper | printf \"%s!\"}}", "SHA256:1!"),
            (
                "{{if .Config.User}}u{{else if eq .Size 12}}twelve{{else}}n{{end}}",
                "twelve",
            ),
            ("{{with .Config}}{{.User}}{{index .Cmd 0}}{{end}}", "sh"),
            ("a {{- /* gone */ -}} b", "ab"),
            ("{{$x := .Size}}{{$x}}", "12"),
            ("{{.Config.Labels.none}}", "<no value>"),
            ("{{and .Id (not .Config.User)}}", "true"),
            ("{{println .Id}}", "sha256:1\n"),
            ("{{.Ports}}", "map[80/tcp:[{0.0.0.0 8080}] 81/tcp:{}]"),
            (
                "{{if .Health}}{{.Health.Status}}{{else}}none{{end}}",
                "none",
            ),
            (
                "{{if and .Health (eq .Health.Status \"healthy\")}}y{{else}}n{{end}}",
                "n",
            ),
            (
                "{{if or .Running .Health.Status}}{{.Health}}{{end}}",
                "<nil>",
            ),
            ("{{.Label \"a.x\"}} {{.Label \"b\"}}", "y "),
            ("{{.Entrypoint}} {{json .Entrypoint}}", "[] null"),
            (
                "{{printf \"%-4s|%4s|%03d\" \"a\" \"b\" 7}}",
                "a   |   b|007",
            ),
            ("{{printf \"%.2f%% %d\" 1.5 \"x\"}}", "1.50% %!d(string=x)"),
            (
                "{{$n := 0}}{{range .RepoTags}}{{$n = .}}{{break}}{{end}}{{$n}}",
                "a:1",
            ),
            (
                "{{range .RepoTags}}{{if eq . \"a:1\"}}{{continue}}{{end}}{{.}}{{end}}",
                "b:2",
            ),
            (
                "{{with $c := .Config}}{{$c.User}}{{len $c.Cmd}}{{end}}",
                "2",
            ),
            (
                "{{slice .Id 0 3}}{{pad \"x\" 1 2}}|{{title \"a bc\"}}",
                "sha x  |A Bc",
            ),
            (
                "{{print 1 2 \"a\"}} {{html \"<\"}} {{urlquery \"a b\"}}",
                "1 2a &lt; a+b",
            ),
            (
                "{{len .Config}} {{.Config}}",
                "3 map[Cmd:[sh -c] Labels:map[a.x:<1> b:2] User:]",
            ),
        ] {
            assert_eq!(render(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for template in [
            "{{",
            "{{.Nothing}}",
            "{{end}}",
            "{{if .Id}}",
            "{{index .RepoTags 9}}",
            "{{nosuch .}}",
            "{{range .Id}}{{end}}",
            "{{.Id.X}}",
            "{{\"a}}",
            "{{)}}",
            "{{(}}",
            "{{.Health.Status}}",
            "{{eq .Id 1}}",
            "{{break}}",
            "{{$x = 1}}",
            "{{slice .Id 9 99}}",
        ] {
            assert!(render(template).is_err(), "{template}");
        }
    }
}
