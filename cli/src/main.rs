//! `rvm`: containers in microVMs, on the command line.

mod arguments;
mod arguments_image;
mod commands;
mod confirm;
mod failure;
mod listing;
mod streams;
mod table;
mod template;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    start_log(&arguments);
    terminal::restore_on_panic();
    match commands::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("rvm: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Says what is wrong with the arguments as Docker does: one sentence, where help is to be had, and exit code 125 where the
/// codes below are the container's.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        print!("{}", error.render());
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{}", error.render());
        return ExitCode::from(1);
    }
    let text = error.render().to_string();
    let sentence: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let sentence = sentence.join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    let command = std::env::args()
        .skip(1)
        .find(|argument| Command::is_name(argument));
    let help = command.as_ref().map_or("rvm --help".to_owned(), |command| {
        format!("rvm {command} --help")
    });
    eprintln!("rvm: {sentence}\n\nSee '{help}'.");
    ExitCode::from(if matches!(command.as_deref(), Some("run")) {
        125
    } else {
        1
    })
}

fn start_log(arguments: &Arguments) {
    tracing_subscriber::fmt()
        .with_max_level(arguments.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}
