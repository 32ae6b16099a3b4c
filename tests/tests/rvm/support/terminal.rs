//! A process on a pseudo-terminal, whose other end is the test.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::process::{Outcome, Output, Process};

/// A terminal, and the process that has it as its controlling terminal.
pub struct Terminal {
    keyboard: File,
    /// The process's end.
    line: OwnedFd,
    pub screen: Arc<Output>,
    pub process: Process,
}

impl Terminal {
    /// Starts a command on a terminal of 24 lines and 80 columns.
    pub fn start(command: &Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&controller).expect("grantpt");
        unlockpt(&controller).expect("unlockpt");
        let name = ptsname(&controller, Vec::new()).expect("ptsname");
        let line = rustix::fs::open(
            &name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .expect("terminal");
        let controller = File::from(controller);
        let screen = Arc::new(Output::default());
        screen.clone().collect(controller.try_clone().expect("dup"));
        // setsid takes the terminal as the controlling one, and then becomes the command: the process's id stays. What is started in a
        // shell's background ignores the keyboard's signals, and so would all that it starts.
        let mut with_terminal = Command::new("env");
        with_terminal
            .args(["--default-signal=INT,QUIT", "setsid", "--ctty"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            with_terminal.env(name, value.unwrap_or_default());
        }
        let end = || Stdio::from(line.try_clone().expect("dup"));
        with_terminal.stdin(end()).stdout(end()).stderr(end());
        let terminal = Self {
            keyboard: controller,
            screen,
            process: Process::start_as_is(with_terminal),
            line,
        };
        terminal.resize(24, 80);
        terminal
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("keyboard");
    }

    /// Waits until a text is on the screen.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    /// Waits until a text has been on the screen so many times.
    pub fn wait_for_times(&self, text: &str, times: usize) {
        let found = self
            .screen
            .wait_until(|bytes| String::from_utf8_lossy(bytes).matches(text).count() >= times);
        assert!(found, "'{text}' never came:\n{}", self.screen.text());
    }

    /// Gives the terminal another size; the kernel tells the processes on it.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.line, size).expect("resize");
    }

    /// The terminal's modes, in a form that can be compared.
    pub fn modes(&self) -> String {
        let Termios {
            input_modes,
            output_modes,
            control_modes,
            local_modes,
            special_codes,
            ..
        } = self.attributes();
        format!(
            "{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?} {special_codes:?}"
        )
    }

    /// Whether keys go to the process as they are typed, and are not echoed here.
    pub fn is_raw(&self) -> bool {
        !self
            .attributes()
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn attributes(&self) -> Termios {
        tcgetattr(&self.line).expect("tcgetattr")
    }

    /// Waits for the process's end, and until all that it wrote is on the screen; the terminal stays.
    pub fn wait(&mut self) -> Outcome {
        const MARK: &[u8] = b"\x01the end of the screen\x01";
        let outcome = self.process.wait_exit();
        rustix::io::write(&self.line, MARK).expect("the terminal's process end");
        assert!(self.screen.cut_off(MARK), "{}", self.screen.text());
        outcome
    }
}
