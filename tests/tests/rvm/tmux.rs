//! A shell in a container within `tmux`, which sees the screen as somebody at a terminal does.

use crate::needs_container;
use crate::support::{Container, Host, rvm, wait_until};

/// The prompt of the shell outside the container, and that of busybox within.
const OUTSIDE: &str = "outside>";
const INSIDE: &str = "/ #";

/// A tmux server with one window, which goes when this does.
struct Tmux<'a>(&'a Host);

impl<'a> Tmux<'a> {
    /// Starts the server, with a shell in its window.
    fn start(host: &'a Host) -> Self {
        let tmux = Self(host);
        let shell = format!("PS1='{OUTSIDE} ' exec sh");
        tmux.run(&["new-session", "-d", "-x", "80", "-y", "24", &shell]);
        // What is typed before is on the screen before it.
        tmux.wait_prompt(OUTSIDE);
        tmux
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = self.0.command("tmux");
        command.env("TMUX_TMPDIR", self.0.folder());
        command.env("LC_ALL", "C.UTF-8");
        command.args(["-u", "-L", "rvm", "-f", "/dev/null"]);
        command.args(args);
        crate::support::Process::start(command).wait().success()
    }

    /// Types a text as it is.
    fn type_in(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
    }

    /// Presses keys, which have tmux's names.
    fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types a command and the return key.
    fn enter(&self, command: &str) {
        self.type_in(command);
        self.press(&["Enter"]);
    }

    /// Types a command for the shell in the container. It asks the terminal where the cursor is with each prompt, and what is typed
    /// before the answer has the answer behind it.
    fn at_prompt(&self, command: &str) {
        self.wait_prompt(INSIDE);
        self.enter(command);
    }

    /// The lines on the screen that have something on them.
    fn lines(&self) -> Vec<String> {
        let screen = self.run(&["capture-pane", "-p"]);
        let lines = screen.lines().map(|line| line.trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }

    fn wait(&self, what: &str, is: impl Fn(&[String]) -> bool) {
        // The last screen is the best report of what went wrong.
        let mut last = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                last = self.lines();
                is(&last).then_some(())
            });
        }));
        assert!(found.is_ok(), "{what} never came:\n{}", last.join("\n"));
    }

    /// Waits until a line of the screen is exactly this.
    fn wait_line(&self, line: &str) {
        self.wait(line, |lines| lines.iter().any(|found| found == line));
    }

    /// Waits until a line that begins with this is on the screen.
    fn wait_start(&self, text: &str) {
        self.wait(text, |lines| {
            lines.iter().any(|line| line.starts_with(text))
        });
    }

    /// Waits until the last line is a prompt at which nothing has been typed.
    fn wait_prompt(&self, prompt: &str) {
        self.wait(prompt, |lines| {
            lines.last().is_some_and(|line| line == prompt)
        });
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn a_shell_in_tmux_is_as_good_as_one_outside_a_container() {
    needs_container!();
    let host = Host::shared();
    let tmux = Tmux::start(host);
    tmux.enter("clear; echo modes-$(stty -g | cksum)");
    tmux.wait_start("modes-");
    let modes = tmux.lines()[0].clone();
    let run = "run -it --name in-tmux --network none -e LANG=C.UTF-8 busybox sh";
    tmux.enter(&format!("{} {run}", rvm().display()));
    let id = wait_until("the container", || {
        let list = ["ps", "-aq", "--no-trunc", "--filter", "name=in-tmux"];
        Some(host.rvm(list).wait().success()).filter(|id| !id.is_empty())
    });
    let container = Container::started(host, id);
    // Nobody is there to be told yet.
    tmux.run(&["resize-window", "-x", "90", "-y", "25"]);
    tmux.at_prompt(
        "clear; while [ \"$(stty size)\" != '25 90' ]; do :; done; echo size-$(stty size)",
    );
    tmux.wait_line("size-25 90");

    // Wide characters: as they are written, in the shell's line, and in the line of the container's terminal.
    tmux.at_prompt("clear; echo 日本");
    tmux.wait_line("日本");
    tmux.wait_prompt(INSIDE);
    tmux.type_in("echo xéz");
    tmux.press(&["Left", "Left"]);
    tmux.type_in("ü");
    tmux.wait_line("/ # echo xüéz");
    tmux.press(&["Enter"]);
    tmux.wait_line("xüéz");
    tmux.at_prompt("clear; echo typed-$((1 + 1)); cat > /tmp/typed");
    tmux.wait_line("typed-2");
    tmux.type_in("a日本b");
    tmux.wait_line("a日本b");
    tmux.press(&["BSpace", "BSpace"]);
    tmux.enter("é");
    tmux.press(&["C-d"]);
    tmux.wait_prompt(INSIDE);
    assert_eq!(container.sh("cat /tmp/typed"), "a日é");

    tmux.run(&["resize-window", "-x", "100", "-y", "30"]);
    tmux.at_prompt(
        "clear; while [ \"$(stty size)\" != '30 100' ]; do :; done; echo wide-$((2 + 2))",
    );
    tmux.wait_line("wide-4");

    // Ctrl-C and Ctrl-Z are for what runs; the shell goes on.
    tmux.at_prompt("clear; sh -c 'echo runs-$((3 + 3)); exec tail -f /dev/null'");
    tmux.wait_line("runs-6");
    tmux.press(&["C-c"]);
    tmux.at_prompt("echo interrupted-$?");
    tmux.wait_line("interrupted-130");
    tmux.at_prompt(
        "clear; sh -c 'echo reads-$((4 + 4)); while read -r word; do echo got $word; done'",
    );
    tmux.wait_line("reads-8");
    tmux.press(&["C-z"]);
    tmux.wait_start("^Z[1]+  Stopped");
    tmux.at_prompt("clear; fg");
    tmux.wait_start("sh -c");
    tmux.enter("again");
    tmux.wait_line("got again");
    tmux.press(&["C-d"]);
    tmux.wait_prompt(INSIDE);

    // vi has the whole screen, and leaves it as it was.
    tmux.at_prompt("clear; echo opened > /tmp/edited; echo before-$((5 + 5)); vi /tmp/edited");
    tmux.wait("the file in vi", |lines| {
        let file = lines.first().is_some_and(|line| line == "opened");
        file && lines.iter().filter(|line| *line == "~").count() == 28
    });
    tmux.type_in("ohéllo 日本");
    tmux.press(&["Escape"]);
    tmux.wait_line("héllo 日本");
    // Until it has taken the key for itself, vi drops what follows as part of an unknown sequence.
    tmux.wait_start("- /tmp/edited");
    tmux.enter(":wq");
    tmux.wait_prompt(INSIDE);
    tmux.wait_line("before-10");
    let left = tmux.lines().iter().any(|line| line == "~");
    assert!(!left, "{:?}", tmux.lines());
    assert_eq!(container.sh("cat /tmp/edited"), "opened\nhéllo 日本");

    // top draws anew: a process that was not there at first is on the screen.
    tmux.at_prompt("clear; top -d 1");
    tmux.wait_start("Load average:");
    let seen = ["exec", "-d", "in-tmux", "tail", "-f", "/etc/hostname"];
    host.rvm(seen).wait().success();
    tmux.wait("a new process in top", |lines| {
        let top = lines.first().is_some_and(|line| line.starts_with("Mem:"));
        top && lines
            .iter()
            .any(|line| line.ends_with("tail -f /etc/hostname"))
    });
    tmux.press(&["q"]);
    tmux.wait_prompt(INSIDE);

    // Left by its keys, the container goes on, and the terminal is what it was.
    tmux.press(&["C-p", "C-q"]);
    tmux.wait_prompt(&format!("{INSIDE} {OUTSIDE}"));
    assert!(container.listed().contains("Up "), "{}", container.listed());
    tmux.enter("clear; echo modes-$(stty -g | cksum)");
    tmux.wait_line(&modes);
}
