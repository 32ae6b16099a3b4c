//! What the well-known introductions to Docker tell one to type works as it is written, with `rvm` for `docker`.

use crate::needs_container;
use crate::support::registry::Registry;
use crate::support::terminal::Terminal;
use crate::support::{Host, Process, rvm};

#[test]
fn a_first_day_with_docker_goes_as_it_is_told() {
    needs_container!();
    let (host, registry) = (Host::empty(), Registry::start());
    registry.fill("nginx", "library/nginx:latest");
    let port = free_port();
    // A line as somebody types it.
    let shell = |line: &str| {
        let mut command = host.command("bash");
        let programs = rvm();
        let programs = programs.parent().expect("a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["-c", &line.replace("8080", &port)])
            .env("PATH", format!("{programs}:{path}"))
            .env("RVM_REGISTRIES", registry.mirror_for(&host));
        command
    };
    let type_in = |line: &str| Process::start(shell(line)).wait().success();
    let page = |address: &str, text: &str| {
        let fetch = format!("curl -sS --retry 250 --retry-all-errors --retry-delay 1 {address}");
        let page = type_in(&fetch);
        assert!(page.contains(text), "no '{text}' in {page}");
    };
    let has = |line: &str, words: &[&str]| {
        let text = type_in(line);
        for word in words {
            assert!(text.contains(word), "no '{word}' in {line}:\n{text}");
        }
    };

    has(
        "rvm pull nginx",
        &["Downloaded newer image for nginx:latest"],
    );
    has("rvm images", &["REPOSITORY", "nginx        latest"]);
    let id = type_in("rvm run -d -p 8080:80 --name webserver nginx");
    page("http://localhost:8080", "Welcome to nginx!");
    let published = format!("0.0.0.0:{port}->80/tcp");
    has(
        "rvm ps",
        &[
            &id[..12],
            "\"nginx -g 'daemon of…\"",
            "Up ",
            &published,
            "webserver",
        ],
    );
    // nginx logs a request once the page is with whoever asked for it.
    let logs = Process::start(shell("exec rvm logs -f webserver"));
    logs.wait_for("\"GET / HTTP/1.1\" 200");
    drop(logs);
    has(
        "rvm top webserver",
        &["PID", "nginx: master process nginx -g daemon off;"],
    );
    has(
        "rvm port webserver",
        &[&format!("80/tcp -> 0.0.0.0:{port}")],
    );
    let address = type_in("rvm inspect --format '{{.NetworkSettings.IPAddress}}' webserver");
    page(&format!("http://{}", address.trim()), "Welcome to nginx!");

    let mut terminal = Terminal::start(&shell("rvm exec -it webserver /bin/bash"));
    terminal.wait_for("# ");
    terminal.type_in("cd /usr/share/nginx/html\r");
    terminal.type_in("sed -i 's/Welcome to nginx/Hello Docker/' index.html && echo do''ne\r");
    terminal.wait_for("done");
    terminal.type_in("exit\r");
    assert_eq!(terminal.wait().code(), 0);
    page("http://localhost:8080", "Hello Docker!");

    assert_eq!(type_in("rvm stop -t 60 webserver"), "webserver\n");
    assert_eq!(type_in("rvm ps -q"), "");
    has("rvm ps -a", &["webserver", "Exited (0)"]);
    assert_eq!(type_in("rvm start webserver"), "webserver\n");
    page("http://localhost:8080", "Hello Docker!");
    assert_eq!(type_in("rvm restart webserver"), "webserver\n");
    page("http://localhost:8080", "Hello Docker!");

    type_in("rvm create --name another nginx");
    has(
        "rvm container ls -a",
        &["another", "Created", "webserver", "Up "],
    );
    assert_eq!(type_in("rvm stop webserver"), "webserver\n");
    assert_eq!(type_in("rvm rm webserver another"), "webserver\nanother\n");
    has(
        "rvm rmi nginx",
        &["Untagged: nginx:latest", "Deleted: sha256:"],
    );
    assert_eq!(type_in("rvm ps -aq; rvm images -q"), "");
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    listener.local_addr().expect("address").port().to_string()
}
