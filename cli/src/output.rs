//! Standard output that nobody takes any more.

use std::any::Any;
use std::panic;
use std::process;

/// The exit code of a process that SIGPIPE ends, as a shell gives it.
const BROKEN_PIPE: i32 = 141;

/// Ends the process, instead of a panic, when what it prints cannot be written: without a word when its reader has gone, as programs do that
/// SIGPIPE ends, and else with one sentence.
pub fn end_where_it_fails() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // The beginning is the standard library's, of print! and println!.
        let Some(why) = message(panic.payload()).strip_prefix("failed printing to stdout: ") else {
            return others(panic);
        };
        if why.starts_with("Broken pipe") {
            process::exit(BROKEN_PIPE);
        }
        eprintln!("rvm: cannot write to standard output: {why}");
        process::exit(1);
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or_default()
}
