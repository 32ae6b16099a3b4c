//! The help of `rvm` itself, with its commands in Docker's groups.

use clap::builder::StyledStr;

use crate::arguments::Command;

/// What one needs on the first day.
const COMMON: [&str; 11] = [
    "run", "exec", "ps", "pull", "push", "images", "login", "logout", "search", "version", "info",
];

/// What has commands below it.
const MANAGEMENT: [&str; 4] = ["container", "image", "template", "system"];

/// The command that was typed, without its options and arguments: one word, or two where it is below another.
pub fn typed() -> Vec<String> {
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .skip_while(|word| !Command::is_name(word))
        .collect();
    let below =
        words.len() > 1 && MANAGEMENT.contains(&words[0].as_str()) && !words[1].starts_with('-');
    words.truncate(if below { 2 } else { 1 });
    words
}

/// How help is to be had on the command that was typed.
pub fn of_typed() -> String {
    of(&typed().iter().map(String::as_str).collect::<Vec<_>>())
}

/// How help is to be had on a command.
pub fn of(command: &[&str]) -> String {
    [&["rvm"], command, &["--help"]].concat().join(" ")
}

/// The command with its help.
pub fn with_help(command: clap::Command) -> clap::Command {
    let text = text(&command);
    command.override_help(StyledStr::from(text))
}

fn text(command: &clap::Command) -> String {
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
    let mut text = format!(
        "{}\n\nUsage: rvm [OPTIONS] COMMAND\n",
        about(command).unwrap_or_default()
    );
    let shown: Vec<&clap::Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    let mut rest: Vec<&&clap::Command> = shown
        .iter()
        .filter(|command| {
            let name = command.get_name();
            !COMMON.contains(&name) && !MANAGEMENT.contains(&name)
        })
        .collect();
    rest.sort_by_key(|command| command.get_name());
    let named = |names: &[&str]| {
        let find = |name: &&str| shown.iter().find(|command| command.get_name() == *name);
        names.iter().filter_map(find).collect::<Vec<_>>()
    };
    for (title, commands) in [
        ("Common commands", named(&COMMON)),
        ("Management commands", named(&MANAGEMENT)),
        ("Commands", rest),
    ] {
        text += &format!("\n{title}:\n");
        for command in commands {
            let about = about(command).unwrap_or_default();
            text += &format!("  {:11} {about}\n", command.get_name());
        }
    }
    text += "\nOptions:\n";
    for option in command.get_opts() {
        let long = option.get_long().unwrap_or_default();
        let value = option.get_value_names().and_then(|names| names.first());
        let value = value.map_or(String::new(), |value| format!(" <{value}>"));
        let help = option.get_help().map(ToString::to_string);
        text += &format!(
            "  --{:19} {}\n",
            format!("{long}{value}"),
            help.unwrap_or_default()
        );
    }
    text + "  -V, --version         Print the version\n  -h, --help            Print help\n\nRun 'rvm COMMAND --help' for more on a command.\n"
}
