//! Images come from registries and go there, said as Docker says it.

use std::os::unix::fs::PermissionsExt;

use crate::needs_container;
use crate::support::image::Layout;
use crate::support::registry::Registry;
use crate::support::terminal::Terminal;
use crate::support::{Host, Outcome};

/// `rvm` with a registry that it takes for Docker's.
fn rvm(host: &Host, registry: &Registry, args: &[&str]) -> Outcome {
    let mut command = host.rvm_command(args.iter().copied());
    command.env("RVM_REGISTRIES", registry.mirror_for(host));
    crate::support::Process::start(command).wait()
}

/// The short forms of an image's layers' digests, in order.
fn layers(registry: &Registry, image: &str) -> Vec<String> {
    let inspected = registry.inspect(image, &[]);
    let layers = inspected["Layers"].as_array().expect("layers").clone();
    let short = |layer: serde_json::Value| layer.as_str().expect("digest")[7..19].to_owned();
    layers.into_iter().map(short).collect()
}

#[test]
fn a_pull_prints_dockers_lines_and_a_quiet_one_the_reference_alone() {
    let (host, registry) = (Host::empty(), Registry::start());
    registry.fill("nginx", "library/nginx:latest");
    let digest = registry.inspect("library/nginx", &[])["Digest"].clone();
    let digest = digest.as_str().expect("digest");
    let layers = layers(&registry, "library/nginx");
    let first = rvm(&host, &registry, &["pull", "nginx"]).success();
    let lines: Vec<_> = first.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "Using default tag: latest",
            "latest: Pulling from library/nginx"
        ]
    );
    assert_eq!(
        lines[lines.len() - 3..],
        [
            &format!("Digest: {digest}"),
            "Status: Downloaded newer image for nginx:latest",
            "docker.io/library/nginx:latest"
        ]
    );
    // Of each layer the same lines in the same order, whatever the other layers do meanwhile.
    assert_eq!(lines.len(), 5 + 3 * layers.len(), "{first}");
    for layer in &layers {
        let own = lines
            .iter()
            .filter_map(|line| line.strip_prefix(layer.as_str()));
        let steps = [
            ": Pulling fs layer",
            ": Download complete",
            ": Pull complete",
        ];
        assert_eq!(own.collect::<Vec<_>>(), steps, "{first}");
    }
    let again = rvm(&host, &registry, &["pull", "nginx:latest"]).success();
    let status = "Status: Image is up to date for nginx:latest\ndocker.io/library/nginx:latest\n";
    assert!(again.ends_with(status), "{again}");
    for layer in &layers {
        assert!(
            again.contains(&format!("{layer}: Already exists\n")),
            "{again}"
        );
    }
    let quiet = rvm(&host, &registry, &["pull", "-q", "nginx"]);
    assert_eq!(quiet.success(), "docker.io/library/nginx:latest\n");
    assert_eq!(quiet.errors(), "");
    let by_digest = format!("nginx@{digest}");
    let pulled = rvm(&host, &registry, &["pull", "-q", &by_digest]).success();
    assert_eq!(pulled, format!("docker.io/library/{by_digest}\n"));

    let missing = registry.name("library/nginx:none");
    rvm(&host, &registry, &["pull", &missing])
        .refused(1, &["manifest for", "not found: manifest unknown"]);
    rvm(&host, &registry, &["pull", "-q", "Not/A/Name"]).refused(1, &["Not/A/Name"]);
}

#[test]
fn all_tags_and_any_platform_are_pulled() {
    let (host, registry) = (Host::empty(), Registry::start());
    let (amd64, arm64) = (
        Layout::of_busybox(&host, "amd64"),
        Layout::of_busybox(&host, "arm64").configure(&["--architecture=arm64"]),
    );
    let mut manifests = Vec::new();
    for (layout, architecture) in [(&amd64, "amd64"), (&arm64, "arm64")] {
        let from = format!("oci:{}:{architecture}:latest", layout.path());
        registry.fill_from(&from, &format!("many:{architecture}"));
        let mut descriptor = layout.manifest();
        descriptor["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        manifests.push(descriptor);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    registry.put_manifest("many", "all", media_type, &index.to_string());
    let name = registry.name("many");
    let architecture = |options: &[&str], image: &str| {
        let args = [&["pull", "-q"], options, &[image]].concat();
        host.rvm(args).wait().success();
        let format = [
            "image",
            "inspect",
            "--format",
            "{{.Os}}/{{.Architecture}}",
            image,
        ];
        host.rvm(format).wait().success()
    };
    let all = format!("{name}:all");
    assert_eq!(architecture(&[], &all), "linux/amd64\n");
    assert_eq!(
        architecture(&["--platform", "linux/arm64"], &all),
        "linux/arm64\n"
    );
    assert_eq!(architecture(&[], &all), "linux/amd64\n");
    host.rvm(["pull", "-q", "--platform", "linux/s390x", &all])
        .wait()
        .refused(1, &["no matching manifest for linux/s390x"]);

    let other = Host::empty();
    registry.fill("busybox", "tags:one");
    registry.fill("nginx", "tags:two");
    let tags = registry.name("tags");
    let pulled = other.rvm(["pull", "--all-tags", &tags]).wait().success();
    for line in ["one: Pulling from ", "two: Pulling from "] {
        assert!(pulled.contains(&format!("{line}{tags}\n")), "{pulled}");
    }
    let end = format!("Status: Downloaded newer image for {tags}\n{tags}\n");
    assert!(pulled.ends_with(&end), "{pulled}");
    assert_eq!(pulled.matches("Digest: sha256:").count(), 2, "{pulled}");
    let format = ["images", "--format", "{{.Repository}} {{.Tag}}"];
    let mut listed: Vec<_> = other
        .rvm(format)
        .wait()
        .success()
        .lines()
        .map(str::to_owned)
        .collect();
    listed.sort();
    assert_eq!(listed, [format!("{tags} one"), format!("{tags} two")]);
    other
        .rvm(["pull", "-a", &format!("{tags}:one")])
        .wait()
        .refused(1, &["tag can't be used with --all-tags/-a"]);
}

#[test]
fn what_is_pushed_is_what_skopeo_reads() {
    let (host, registry) = (Host::empty().load(&["nginx"]), Registry::start());
    let (first, second) = (registry.name("team/web:1"), registry.name("team/web:2"));
    host.rvm(["tag", "nginx", &first]).wait().success();
    host.rvm(["tag", "nginx", &second]).wait().success();
    let pushed = host.rvm(["push", &first]).wait().success();
    let inspected = registry.inspect("team/web:1", &[]);
    let digest = inspected["Digest"].as_str().expect("digest");
    let layers = layers(&registry, "team/web:1");
    let repository = registry.name("team/web");
    assert!(
        pushed.starts_with(&format!("The push refers to repository [{repository}]\n")),
        "{pushed}"
    );
    let last = pushed.lines().last().expect("a line");
    assert!(
        last.starts_with(&format!("1: digest: {digest} size: ")),
        "{pushed}"
    );
    for layer in &layers {
        let own = pushed
            .lines()
            .filter_map(|line| line.strip_prefix(layer.as_str()));
        assert_eq!(
            own.collect::<Vec<_>>(),
            [": Preparing", ": Pushed"],
            "{pushed}"
        );
    }
    let again = host.rvm(["push", &second]).wait().success();
    for layer in &layers {
        assert!(
            again.contains(&format!("{layer}: Layer already exists\n")),
            "{again}"
        );
    }
    assert_eq!(
        host.rvm(["push", "-q", &first]).wait().success(),
        format!("{first}\n")
    );
    // The configuration that skopeo reads is the image's id here.
    let config = registry.inspect("team/web:2", &["--config"]);
    let id = host
        .rvm(["images", "-q", "--no-trunc", &second])
        .wait()
        .success();
    let raw = registry.inspect("team/web:2", &["--raw"]);
    assert_eq!(raw["config"]["digest"], id.trim());
    assert_eq!(config["architecture"], "amd64");
    // The digest is known here now.
    let format = ["images", "--format", "{{.Digest}}", &first];
    assert_eq!(host.rvm(format).wait().success(), format!("{digest}\n"));

    let empty = Registry::start();
    for tag in ["a", "b"] {
        host.rvm(["tag", "nginx", &empty.name(&format!("all:{tag}"))])
            .wait()
            .success();
    }
    let all = host
        .rvm(["push", "-a", &empty.name("all")])
        .wait()
        .success();
    assert_eq!(all.matches(": digest: sha256:").count(), 2, "{all}");
    for tag in ["all:a", "all:b"] {
        assert_eq!(empty.inspect(tag, &[])["Digest"], digest);
    }
    host.rvm(["push", "-q", &registry.name("team/none:1")])
        .wait()
        .refused(1, &["An image does not exist locally with the tag"]);
}

#[test]
fn a_password_is_asked_for_kept_to_its_owner_and_forgotten() {
    let (host, registry) = (Host::empty().load(&["busybox"]), Registry::with_password());
    let image = registry.name("private/busybox:1");
    host.rvm(["tag", "busybox", &image]).wait().success();
    host.rvm(["push", "-q", &image])
        .wait()
        .refused(1, &["denied"]);
    let login = |input: &str, options: &[&str]| {
        let args = [&["login"], options, &[registry.host.as_str()]].concat();
        host.rvm(args).wait_with(input.as_bytes())
    };
    login("wrong\n", &["-u", "user", "--password-stdin"]).refused(1, &["unauthorized"]);
    login("secret\n", &["--password-stdin"])
        .refused(1, &["Must provide --username with --password-stdin"]);
    login("user\nsecret\n", &[]).refused(
        1,
        &["Cannot perform an interactive login from a non TTY device"],
    );
    let done = login("secret\n", &["--username", "user", "--password-stdin"]);
    assert_eq!(done.success(), "Login Succeeded\n");
    let file = host.folder().join("docker/config.json");
    let mode = std::fs::metadata(&file)
        .expect("credentials")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        done.errors().contains(file.to_str().expect("UTF-8")),
        "{done}"
    );
    host.rvm(["push", "-q", &image]).wait().success();
    host.rvm(["pull", "-q", &image]).wait().success();
    // With credentials that are kept nothing is asked.
    let again = login("", &[]);
    assert_eq!(again.success(), "Login Succeeded\n");
    assert!(
        again
            .errors()
            .starts_with("Authenticating with existing credentials... [Username: user]")
    );

    let logout = || host.rvm(["logout", &registry.host]).wait().success();
    assert_eq!(
        logout(),
        format!("Removing login credentials for {}\n", registry.host)
    );
    assert_eq!(logout(), format!("Not logged in to {}\n", registry.host));
    host.rvm(["pull", "-q", &image])
        .wait()
        .refused(1, &["pull access denied for", "rvm login"]);
}

#[test]
fn a_password_that_is_typed_is_not_shown() {
    let (host, registry) = (Host::empty(), Registry::with_password());
    let start = || Terminal::start(&host.rvm_command(["login", &registry.host]));
    let mut ended = start();
    let before = ended.modes();
    ended.type_in("user\n");
    ended.wait_for("Password: ");
    ended.type_in("\u{3}");
    assert!(!ended.wait().status.success());
    assert_eq!(ended.modes(), before);

    let mut login = start();
    login.wait_for("Username: ");
    login.type_in("user\n");
    login.wait_for("Password: ");
    login.type_in("secret\n");
    login.wait_for("Login Succeeded");
    assert!(login.wait().status.success());
    let screen = login.screen.text();
    assert!(!screen.contains("secret"), "{screen}");
    assert_eq!(login.modes(), before);
}

#[test]
fn a_terminal_sees_a_bar_for_each_layer() {
    let (host, registry) = (Host::empty(), Registry::start());
    registry.fill("nginx", "library/nginx:latest");
    let name = registry.name("library/nginx");
    let mut pull = Terminal::start(&host.rvm_command(["pull", &name]));
    assert!(pull.wait().status.success(), "{}", pull.screen.text());
    pull.wait_for(&format!("\n{name}:latest\r\n"));
    let screen = pull.screen.text();
    // Small layers are there before their bars have been drawn.
    let layers = layers(&registry, "library/nginx");
    assert!(
        screen.contains(&format!("{}: Downloading [", layers[0])),
        "{screen}"
    );
    for layer in &layers {
        assert!(
            screen.contains(&format!("{layer}: Pull complete")),
            "{screen}"
        );
    }
    // What comes after the bars stands on lines of its own.
    assert!(
        screen.contains("\nDigest: sha256:") || screen.contains(" Digest: sha256:"),
        "{screen}"
    );
    let mut quiet = Terminal::start(&host.rvm_command(["pull", "-q", &name]));
    assert!(quiet.wait().status.success());
    quiet.wait_for("\r\n");
    assert_eq!(quiet.screen.text(), format!("{name}:latest\r\n"));

    let other = Registry::start();
    let copy = other.name("copy:1");
    host.rvm(["tag", &name, &copy]).wait().success();
    let mut push = Terminal::start(&host.rvm_command(["push", &copy]));
    assert!(push.wait().status.success(), "{}", push.screen.text());
    push.wait_for("1: digest: sha256:");
    let screen = push.screen.text();
    assert!(
        screen.contains(&format!("{}: Pushing     [", layers[0])),
        "{screen}"
    );
    for layer in &layers {
        assert!(screen.contains(&format!("{layer}: Pushed")), "{screen}");
    }
    for name in [&name, &copy] {
        host.rvm(["rmi", name]).wait().success();
    }
    let archive = crate::support::archive("nginx").display().to_string();
    let mut load = Terminal::start(&host.rvm_command(["load", "-i", &archive]));
    assert!(load.wait().status.success(), "{}", load.screen.text());
    load.wait_for("Loaded image: nginx:latest\r\n");
    let screen = load.screen.text();
    assert!(screen.contains("Loading archive ["), "{screen}");
    for layer in &layers {
        assert!(screen.contains(&format!("{layer}: Loaded")), "{screen}");
    }
}

#[test]
fn run_pulls_what_is_missing_and_says_so_on_standard_error() {
    needs_container!();
    let (host, registry) = (Host::empty(), Registry::start());
    registry.fill("busybox", "library/busybox:latest");
    let layer = &layers(&registry, "library/busybox")[0];
    let run = |options: &[&str], rest: &[&str]| {
        let args = [
            &["run", "--rm", "--network", "none"],
            options,
            &["busybox"],
            rest,
        ]
        .concat();
        rvm(&host, &registry, &args)
    };
    run(&["--pull", "never"], &["true"]).refused(125, &["No such image: busybox:latest"]);
    let first = run(&[], &["echo", "hello"]);
    assert_eq!(first.success(), "hello\n");
    let digest = registry.inspect("library/busybox", &[])["Digest"].clone();
    let said = |found: &[&str], status: &str| {
        let steps: String = found
            .iter()
            .map(|step| format!("{layer}: {step}\n"))
            .collect();
        format!(
            "latest: Pulling from library/busybox\n{steps}Digest: {}\nStatus: {status} for busybox:latest\n",
            digest.as_str().expect("digest")
        )
    };
    let pulled = said(
        &["Pulling fs layer", "Download complete", "Pull complete"],
        "Downloaded newer image",
    );
    let missing = "Unable to find image 'busybox:latest' locally\n";
    assert_eq!(first.errors(), format!("{missing}{pulled}"));
    // A container that cannot be made shows what was pulled for it, without a microVM.
    let refused = |options: &[&str]| {
        let options = [&["--entrypoint", ""], options].concat();
        let end = run(&options, &[]);
        assert_eq!(end.code(), 125, "{end}");
        end.errors()
    };
    let said_nothing = refused(&[]);
    assert!(said_nothing.starts_with("rvm: "), "{said_nothing}");
    let exists = said(&["Already exists"], "Image is up to date");
    assert_eq!(
        refused(&["--pull", "always"]),
        format!("{exists}{said_nothing}")
    );
    host.rvm(["rmi", "-f", "busybox"]).wait().success();
    assert_eq!(refused(&["--quiet"]), said_nothing);
}

#[test]
fn a_search_is_listed_as_docker_lists_it() {
    let host = Host::empty();
    // docker-registry has no search; Docker's answer is all that is asked for.
    let server = r#"
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_GET(self):
        found = [{"name": "nginx", "description": "Official build of Nginx.", "star_count": 20000, "is_official": True},
                 {"name": "someone/nginx", "description": "x" * 60 + "\u001b[2J", "star_count": 3, "is_official": False}]
        found = found if self.path.startswith("/v1/search?q=nginx&n=25") else []
        answer = json.dumps({"results": found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("port %d." % server.server_port, flush=True)
server.serve_forever()
"#;
    let server = host.start("python3", &["-c", server]);
    server.wait_for(".\n");
    let said = server.stdout.text();
    let port = said.trim_start_matches("port ").trim_end_matches(".\n");
    let term = format!("127.0.0.1:{port}/nginx");
    let search = |options: &[&str]| {
        let args = [&["search"], options, &[&term]].concat();
        host.rvm(args).wait()
    };
    let cut = "x".repeat(44) + "…";
    assert_eq!(
        search(&[]).success(),
        format!(
            "{:16}{:48}STARS     OFFICIAL\n{:16}{:48}20000     [OK]\n{:16}{cut:48}3\n",
            "NAME", "DESCRIPTION", "nginx", "Official build of Nginx.", "someone/nginx"
        )
    );
    let format = "{{.Name}} {{.StarCount}} {{.IsOfficial}}";
    let official = search(&["--format", format, "--filter", "is-official=true"]);
    assert_eq!(official.success(), "nginx 20000 true\n");
    let starred = search(&["--format", format, "--filter", "stars=10"]);
    assert_eq!(starred.success(), "nginx 20000 true\n");
    search(&["--limit", "1000"]).refused(1, &["outside the range of [1, 100]"]);
    search(&["--filter", "x=y"]).refused(1, &["invalid filter 'x=y'"]);
}
