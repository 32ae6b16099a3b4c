//! `rvm`: containers in microVMs, on the command line.

mod arguments;
mod arguments_attach;
mod arguments_bench;
mod arguments_checkpoint;
mod arguments_create;
mod arguments_files;
mod arguments_group;
mod arguments_guest;
mod arguments_image;
mod arguments_lifecycle;
mod arguments_log;
mod arguments_show;
mod arguments_template;
mod cidfile;
mod commands;
mod completion;
mod confirm;
mod detach_keys;
mod failure;
mod help;
mod listing;
mod log;
mod output;
mod streams;
mod table;
mod template;
mod terminal;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use arguments::Arguments;
use rvm_engine::timing;

fn main() -> ExitCode {
    timing::mark("command begins");
    output::end_where_it_fails();
    completion::answer();
    let matches = help::with_help(Arguments::command()).try_get_matches();
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    log::start(arguments.log_level);
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
    let command = help::typed();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    if error.kind() == ErrorKind::InvalidSubcommand {
        eprintln!(
            "rvm: {}\n\nSee '{}'.",
            unknown(error),
            help::of(&command[..command.len().min(1)])
        );
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
    eprintln!("rvm: {sentence}\n\nSee '{}'.", help::of(&command));
    let makes_container = matches!(
        command[..],
        ["run" | "create"] | ["container", "run" | "create"]
    );
    ExitCode::from(if makes_container { 125 } else { 1 })
}

/// A word that is no command, and those that it may have been meant for.
fn unknown(error: &clap::Error) -> String {
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(similar)) => similar.as_slice(),
        _ => &[],
    };
    // The likeliest come last.
    let likely = match similar {
        [.., b, a] => vec![a.as_str(), b.as_str()],
        few => few.iter().map(String::as_str).collect(),
    };
    match likely[..] {
        [] => format!("unknown command: '{word}'."),
        _ => format!(
            "unknown command: '{word}'; did you mean '{}'?",
            likely.join("' or '")
        ),
    }
}
