//! Commands are found by their names, by their groups and by Docker's other names.

use std::fs::File;
use std::process::Stdio;

use crate::support::Host;

#[test]
fn output_that_nobody_takes_ends_a_command_without_noise() {
    let host = Host::empty();
    let run = |stdout: Stdio| {
        let mut command = host.rvm_command(["--help"]);
        let end = command.stdin(Stdio::null()).stdout(stdout).output();
        let end = end.expect("rvm");
        let errors = String::from_utf8_lossy(&end.stderr).into_owned();
        (end.status.code(), errors)
    };
    let (reader, writer) = rustix::pipe::pipe().expect("pipe");
    drop(reader);
    assert_eq!(run(writer.into()), (Some(141), String::new()));
    let full = File::options().write(true).open("/dev/full");
    let (code, errors) = run(full.expect("full").into());
    assert_eq!(code, Some(1));
    let sentence = "rvm: cannot write to standard output: No space left on device";
    assert!(errors.starts_with(sentence), "{errors}");
}

#[test]
fn commands_have_dockers_groups_and_names() {
    let host = Host::empty();
    let help = host.rvm(["--help"]).wait().success();
    let sections: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_suffix(':'))
        .collect();
    assert_eq!(
        sections,
        [
            "Common commands",
            "Management commands",
            "Commands",
            "Options"
        ]
    );
    for command in [
        "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rename", "rm",
        "exec", "logs", "ps", "inspect", "top", "stats", "port", "events", "info", "version",
        "run", "images", "pull", "push", "tag", "rmi", "load", "save", "import", "history",
    ] {
        let line = format!("\n  {command} ");
        assert!(help.contains(&line), "no {command} in {help}");
        let own = host.rvm([command, "--help"]).wait().success();
        assert!(own.contains(&format!("Usage: rvm {command}")), "{own}");
    }
    for (group, commands) in [
        (
            "container",
            "create exec inspect kill logs ls pause port prune rename restart rm run start stats stop top unpause wait",
        ),
        (
            "image",
            "history import inspect load ls prune pull push rm save tag",
        ),
        ("system", "df events info prune"),
    ] {
        for command in commands.split(' ') {
            host.rvm([group, command, "--help"]).wait().success();
        }
    }
    for (one, other) in [
        (["container", "ls"], ["container", "list"]),
        (["container", "ps"], ["ps", "-a"]),
        (["image", "list"], ["images", "-a"]),
    ] {
        let outputs = [one, other].map(|args| host.rvm(args).wait().success());
        assert_eq!(outputs[0], outputs[1]);
    }
}

#[test]
fn what_is_no_command_is_said_with_what_may_be_meant() {
    let host = Host::empty();
    for (args, sentence) in [
        (
            &["imagse"][..],
            "rvm: unknown command: 'imagse'; did you mean 'image' or 'images'?\n\nSee 'rvm --help'.\n",
        ),
        (
            &["xyzzy"],
            "rvm: unknown command: 'xyzzy'.\n\nSee 'rvm --help'.\n",
        ),
        (
            &["container", "stopp"],
            "rvm: unknown command: 'stopp'; did you mean 'stop' or 'top'?\n\nSee 'rvm container --help'.\n",
        ),
    ] {
        let refused = host.rvm(args.to_vec()).wait();
        assert_eq!(refused.code(), 1, "{refused}");
        assert_eq!(refused.errors(), sentence);
    }
    for (args, code) in [
        (["container", "run", "--nothing"], 125),
        (["container", "rm", "--nothing"], 1),
    ] {
        let refused = host.rvm(args).wait();
        let help = format!("See 'rvm {} {} --help'.\n", args[0], args[1]);
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.errors().ends_with(&help), "{refused}");
    }
}

#[test]
fn shells_complete_commands_options_and_names() {
    let host = Host::empty().load(&["busybox"]);
    // What bash offers behind a line, asked as the terminal asks.
    let offered = |line: &str| {
        let script = format!(
            "source <(\"$RVM\" completion bash)\nPATH=$(dirname \"$RVM\"):$PATH\nCOMP_WORDS=({line}) COMP_TYPE=9\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) COMP_LINE=\"{line}\" COMP_POINT=${{#COMP_LINE}}\n\
             _clap_complete_rvm rvm \"${{COMP_WORDS[-1]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut command = host.command("bash");
        command
            .args(["-c", &script])
            .env("RVM", crate::support::rvm());
        let text = crate::support::Process::start(command).wait().success();
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(offered("rvm resta"), ["restart"]);
    assert_eq!(offered("rvm image hi"), ["history"]);
    assert_eq!(offered("rvm ps --no-tr"), ["--no-trunc"]);
    assert_eq!(offered("rvm rmi busy"), ["busybox:latest"]);
    for shell in ["zsh", "fish"] {
        let script = host.rvm(["completion", shell]).wait().success();
        assert!(script.contains("RVM_COMPLETE"), "{script}");
    }
    let folder = host.folder().join("tmp/man");
    let folder = folder.to_str().expect("UTF-8");
    host.rvm(["man", folder]).wait().success();
    for page in ["rvm.1", "rvm-run.1", "rvm-container-ls.1"] {
        let text = std::fs::read_to_string(format!("{folder}/{page}")).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{text}");
    }
}
