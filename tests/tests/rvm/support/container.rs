//! A container that a test has started; removed when the test is over.

use serde_json::Value;

use super::host::Host;
use super::process::{Outcome, Process};

/// A container in the background.
pub struct Container<'a> {
    pub host: &'a Host,
    pub id: String,
}

impl<'a> Container<'a> {
    /// The container whose start printed this.
    pub fn started(host: &'a Host, printed: String) -> Self {
        let id = printed.strip_suffix('\n').unwrap_or_default().to_owned();
        let digits = id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        assert!(id.len() == 64 && digits, "no id: {printed:?}");
        Self { host, id }
    }

    /// Runs a shell script in the container; its end.
    pub fn try_sh(&self, script: &str) -> Outcome {
        self.host.rvm(["exec", &self.id, "sh", "-c", script]).wait()
    }

    /// Runs a shell script in the container that has to succeed; its standard output, trimmed.
    pub fn sh(&self, script: &str) -> String {
        self.try_sh(script).success().trim().to_owned()
    }

    /// What the container writes, from its beginning on.
    pub fn follow(&self) -> Process {
        self.host.rvm(["logs", "-f", &self.id])
    }

    /// Waits until the container has written a text.
    pub fn wait_for(&self, text: &str) {
        self.follow().wait_for(text);
    }

    /// What `rvm inspect` says of it.
    pub fn inspect(&self) -> Value {
        let text = self.host.rvm(["inspect", &self.id]).wait().success();
        let list: Value = serde_json::from_str(&text).expect("JSON");
        list[0].clone()
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.inspect()["NetworkSettings"]["IPAddress"]
            .as_str()
            .expect("an address")
            .to_owned()
    }

    /// Its line in `rvm ps -a`.
    pub fn listed(&self) -> String {
        let list = self.host.rvm(["ps", "-a", "--no-trunc"]).wait().success();
        list.lines()
            .find(|line| line.starts_with(&self.id))
            .unwrap_or_default()
            .to_owned()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- logs of {}\n{}",
                self.id,
                self.host.rvm(["logs", &self.id]).wait()
            );
            let monitor = self
                .host
                .root()
                .join("containers")
                .join(&self.id)
                .join("monitor.log");
            eprintln!(
                "--- its monitor\n{}",
                std::fs::read_to_string(monitor).unwrap_or_default()
            );
        }
        self.host.rvm(["rm", "-f", &self.id]).wait();
    }
}
