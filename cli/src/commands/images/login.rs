//! `rvm login` and `rvm logout`.

use std::io::{BufRead, IsTerminal, Read, Write};

use rvm_engine::image::{self, CredentialStore, Credentials};

use crate::arguments_image::{Login, Logout};
use crate::failure::Failure;
use crate::terminal::{self, Hidden};

const DOCKER: &str = "docker.io";
/// No password is longer.
const MAX_PASSWORD: u64 = 64 << 10;

pub fn login(command: &Login) -> Result<u8, Failure> {
    let server = server(command.server.as_deref());
    let store = CredentialStore::of_user()?;
    if command.username.is_none()
        && command.password.is_none()
        && !command.password_stdin
        && let Some(kept) = store.get(&server)?
    {
        let user = &kept.user;
        eprintln!("Authenticating with existing credentials... [Username: {user}]");
        match image::login(&server, &kept) {
            Ok(()) => {
                println!("Login Succeeded");
                return Ok(0);
            }
            Err(error) => eprintln!("Login did not succeed, error: {}", Failure::from(error)),
        }
    }
    let user = match &command.username {
        Some(user) => user.clone(),
        None if command.password_stdin => {
            return Err(Failure::new(
                1,
                "Must provide --username with --password-stdin",
            ));
        }
        None => ask("Username: ", false)?,
    };
    let secret = if command.password_stdin {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_PASSWORD)
            .read_to_string(&mut text)?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else if let Some(password) = &command.password {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        password.clone()
    } else {
        ask("Password: ", true)?
    };
    if user.is_empty() || secret.is_empty() {
        return Err(Failure::new(
            1,
            "user name and password are needed, and one of them is empty",
        ));
    }
    let credentials = Credentials { user, secret };
    image::login(&server, &credentials)?;
    if store.set(&server, &credentials)? {
        let path = store.path().display();
        eprintln!("WARNING! Your credentials are stored unencrypted in '{path}'.");
        eprintln!("Configure a credential helper to remove this warning.\n");
    }
    println!("Login Succeeded");
    Ok(0)
}

pub fn logout(command: &Logout) -> Result<u8, Failure> {
    let server = server(command.server.as_deref());
    let key = image::credentials_key(&server);
    if CredentialStore::of_user()?.remove(&server)? {
        println!("Removing login credentials for {key}");
    } else {
        println!("Not logged in to {key}");
    }
    Ok(0)
}

/// A host and its port, however the user wrote the registry.
fn server(text: Option<&str>) -> String {
    let text = text.unwrap_or(DOCKER);
    let text = text
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    match text.split('/').next().unwrap_or(text) {
        "index.docker.io" | "registry-1.docker.io" => DOCKER.to_owned(),
        host => host.to_owned(),
    }
}

/// Asks at the terminal; what is `hidden` is not shown while it is typed.
fn ask(question: &str, hidden: bool) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(
            1,
            "Cannot perform an interactive login from a non TTY device: use --username and --password-stdin",
        ));
    }
    let mode = if hidden {
        terminal::restore_on_signals()?;
        Some(Hidden::enter()?)
    } else {
        None
    };
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if mode.is_some() {
        eprintln!();
    }
    drop(mode);
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
