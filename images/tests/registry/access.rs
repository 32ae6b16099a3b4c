//! Who may pull and push, and whose certificates are believed.

use base64::Engine as _;
use rvm_images::LoadOptions;
use serde_json::json;

use crate::certificate::Certificate;
use crate::common::{str, tempdir};
use crate::proxy::Proxy;
use crate::real::{Access, Registry};
use crate::round_trip::fill;
use crate::user::User;

/// Puts an image into the user's store, under this name.
pub fn give(user: &User, name: &str) {
    let layout = user.folder.path().join("layout");
    fill(&layout);
    let options = LoadOptions {
        name: Some(name.parse().unwrap()),
        ..LoadOptions::default()
    };
    user.store().load(&layout, &options).unwrap();
}

fn auth(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn passwords_of_docker_s_file_are_used_to_push_and_to_pull() {
    let registry = Registry::start(Access::Password);
    let host = &registry.host;
    let name = format!("{host}/team/private:1");
    let with = |auth: serde_json::Value| User::new().docker(&json!({"auths": {host: auth}}));

    let nobody = User::new();
    give(&nobody, &name);
    let err = nobody.act(&["push", &name]).unwrap_err();
    assert!(err.contains("push access denied for"), "{err}");
    let wrong = with(json!({"auth": auth("user:wrong")}));
    give(&wrong, &name);
    let err = wrong.act(&["push", &name]).unwrap_err();
    assert!(err.contains("push access denied for"), "{err}");

    let user = with(json!({"auth": auth("user:secret")}));
    give(&user, &name);
    let pushed = user.act(&["push", &name]).unwrap();

    let err = User::new().act(&["pull", &name]).unwrap_err();
    assert!(err.contains("pull access denied for"), "{err}");
    let err = wrong.act(&["pull", &name]).unwrap_err();
    assert!(err.contains("pull access denied for"), "{err}");
    let other = with(json!({"username": "user", "password": "secret"}));
    assert_eq!(other.act(&["pull", &name]).unwrap(), pushed);
    assert_eq!(other.act(&["tags", &name]).unwrap(), "1");
}

#[test]
fn who_logs_in_is_remembered_in_a_file_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let registry = Registry::start(Access::Password);
    let host = &registry.host;
    let name = format!("{host}/private:1");
    let user =
        User::new().docker(&json!({"auths": {"other.test": {"auth": "eDp5"}}, "psFormat": "x"}));
    give(&user, &name);
    let err = user.act(&["login", host, "user", "wrong"]).unwrap_err();
    assert!(err.contains("unauthorized"), "{err}");
    assert_eq!(
        user.act(&["login", host, "user", "secret"]).unwrap(),
        "plain: true"
    );
    user.act(&["push", &name]).unwrap();
    let file = user.folder.path().join("docker/config.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(user.act(&["logout", host]).unwrap(), "true");
    assert_eq!(user.act(&["logout", host]).unwrap(), "false");
    assert!(user.act(&["pull", &name]).unwrap_err().contains("denied"));
    // What others keep there stays.
    let left: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        left,
        json!({"auths": {"other.test": {"auth": "eDp5"}}, "psFormat": "x"})
    );
}

/// Keeps what it is told in a folder, as `docker-credential-pass` does in another.
const HELPER: &str = r#"#!/bin/sh
read -r input
echo "$1 $input" >> HOME/asked
case $1 in
store) echo "$input" > HOME/kept ;;
get) cat HOME/kept 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; } ;;
erase) rm HOME/kept ;;
esac
"#;

#[test]
fn credential_helpers_keep_the_password() {
    use std::os::unix::fs::PermissionsExt;

    let registry = Registry::start(Access::Password);
    let host = &registry.host;
    let name = format!("{host}/private:1");
    for config in [
        json!({"credsStore": "fake"}),
        json!({"credsStore": "none", "credHelpers": {host: "fake"}}),
    ] {
        let user = User::new().docker(&config);
        let home = str(user.folder.path()).to_owned();
        let helper = user.write("bin/docker-credential-fake", HELPER.replace("HOME", &home));
        std::fs::set_permissions(helper, PermissionsExt::from_mode(0o755)).unwrap();
        let user = user.set(
            "PATH",
            format!("{home}/bin:{}", std::env::var("PATH").unwrap()),
        );
        give(&user, &name);
        assert!(user.act(&["push", &name]).unwrap_err().contains("denied"));
        assert_eq!(
            user.act(&["login", host, "user", "secret"]).unwrap(),
            "plain: false"
        );
        let pushed = user.act(&["push", &name]).unwrap();
        assert_eq!(user.act(&["pull", &name]).unwrap(), pushed);
        // Docker's file has nothing of it.
        let file = std::fs::read_to_string(format!("{home}/docker/config.json")).unwrap();
        assert_eq!(file, config.to_string());
        let asked = std::fs::read_to_string(format!("{home}/asked")).unwrap();
        let stored = asked
            .lines()
            .find_map(|line| line.strip_prefix("store "))
            .unwrap();
        let stored: serde_json::Value = serde_json::from_str(stored).unwrap();
        assert_eq!(
            stored,
            json!({"ServerURL": host, "Username": "user", "Secret": "secret"})
        );
        assert!(asked.contains(&format!("get {host}\n")), "{asked}");
        assert_eq!(user.act(&["logout", host]).unwrap(), "true");
        assert!(user.act(&["pull", &name]).unwrap_err().contains("denied"));
    }
    // One that is not there is named.
    let user = User::new().docker(&json!({"credsStore": "missing"}));
    let err = user.act(&["pull", &name]).unwrap_err();
    assert!(err.contains("docker-credential-missing"), "{err}");
}

#[test]
fn certificates_are_checked_against_the_authorities_that_the_user_trusts() {
    let folder = tempdir();
    let certificate = Certificate::new(folder.path(), "registry.test");
    let registry = Registry::start(Access::Tls(&certificate));
    let host = "registry.test:5443";
    let proxy = Proxy::start(&[(host, &registry.host), ("other.test:5443", &registry.host)]);
    let name = &*format!("{host}/app:1");
    let user = || User::new().set("HTTPS_PROXY", &proxy.url);

    let err = user().act(&["pull", name]).unwrap_err();
    assert!(err.contains("certificate"), "{err}");
    assert!(proxy.tunnels().len() < 5, "no use in asking again");

    // As with every program on the system.
    let trusting = user().set("SSL_CERT_FILE", str(&certificate.authority));
    give(&trusting, name);
    let pushed = trusting.act(&["push", name]).unwrap();
    assert_eq!(trusting.act(&["pull", name]).unwrap(), pushed);
    let other = "other.test:5443/app:1";
    let err = trusting.act(&["pull", other]).unwrap_err();
    assert!(err.contains("certificate"), "{err}");

    // As with Docker, for this registry alone.
    let own = user();
    let authority = std::fs::read(&certificate.authority).unwrap();
    own.write(
        &format!("config/docker/certs.d/{host}/authority.crt"),
        &authority,
    );
    assert_eq!(own.act(&["pull", name]).unwrap(), pushed);
    assert!(
        own.act(&["pull", other])
            .unwrap_err()
            .contains("certificate")
    );

    // Whoever says so may do without.
    let careless = user().registries(&json!({"insecure-registries": ["other.test:5443"]}));
    assert_eq!(careless.act(&["pull", other]).unwrap(), pushed);
    assert!(
        careless
            .act(&["pull", name])
            .unwrap_err()
            .contains("certificate")
    );
}
