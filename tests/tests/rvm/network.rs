//! Containers on the network: published ports, addresses, each other.

use std::net::TcpListener;

use crate::needs_container;
use crate::support::process::judge;
use crate::support::{Host, number};

const TITLE: &str = "<title>Welcome to nginx!</title>";

/// A port on which nothing listens now.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port()
}

/// An address of this host on a real interface, as its neighbours know it.
fn host_address() -> Option<String> {
    let addresses = judge(
        "ip",
        ["-4", "-oneline", "address", "show", "scope", "global", "up"],
    );
    let of_others = addresses.lines().filter(|line| !line.contains("rvm"));
    let mut words = of_others.filter_map(|line| line.split_whitespace().nth(3));
    words
        .next()
        .and_then(|address| address.split('/').next())
        .map(str::to_owned)
}

#[test]
fn nginx_answers_on_its_published_port() {
    needs_container!();
    let host = Host::shared();
    let port = free_port().to_string();
    let published = format!("{port}:80");
    let nginx = host.detached(["-p", &published, "--image", "nginx"]);
    let url = format!("http://127.0.0.1:{port}/");
    let patience = ["--silent", "--show-error", "--fail", "--max-time", "60"];
    let retry = ["--retry", "250", "--retry-delay", "1", "--retry-all-errors"];
    let curl = |more: &[&str]| host.start("curl", &[&patience, more].concat()).wait();
    assert!(
        curl(&[&retry[..], &[&url]].concat())
            .success()
            .contains(TITLE)
    );

    // As neighbours of the host would reach it, and on the container's own address.
    if let Some(address) = host_address() {
        assert!(
            curl(&[&format!("http://{address}:{port}/")])
                .success()
                .contains(TITLE),
            "on {address}"
        );
    }
    let address = nginx.address();
    assert!(
        curl(&[&format!("http://{address}/")])
            .success()
            .contains(TITLE),
        "on {address}"
    );
    assert!(
        nginx.listed().contains(&format!("0.0.0.0:{port}->80/tcp")),
        "{}",
        nginx.listed()
    );

    // One request after the other, each on a connection of its own.
    let requests = number("RVM_TEST_REQUESTS", 1000);
    let many = format!("{url}?request=[1-{requests}]");
    let each = [
        "--header",
        "Connection: close",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{size_download}\n",
        &many,
    ];
    let answers = curl(&each).success();
    assert_eq!(answers.lines().count(), requests);
    let first = answers.lines().next().expect("an answer");
    assert!(
        first.starts_with("200 ") && answers.lines().all(|line| line == first),
        "{answers}"
    );

    // The port is the container's.
    host.rvm(["run", "--rm", "-p", &published, "busybox", "true"])
        .wait()
        .refused(125, &[&port, "port is already allocated"]);

    // Another container reaches it by its address, and through the host.
    let client = host.detached(["busybox", "tail", "-f", "/dev/null"]);
    let gateway = client.inspect()["NetworkSettings"]["Gateway"]
        .as_str()
        .expect("a gateway")
        .to_owned();
    for url in [
        format!("http://{address}/"),
        format!("http://{gateway}:{port}/"),
    ] {
        assert!(
            client.sh(&format!("wget -q -O - {url}")).contains(TITLE),
            "{url}"
        );
    }
    assert_ne!(client.address(), address);
    // What listens on the host's loopback is none of a container's business.
    let private = TcpListener::bind("127.0.0.1:0").expect("a port");
    let private = private.local_addr().expect("an address").port();
    assert_ne!(
        client
            .try_sh(&format!("wget -q -T 5 -O - http://{gateway}:{private}/"))
            .code(),
        0
    );

    // nginx ends in order on the stop signal that its image names, and the port is free at once.
    host.rvm(["stop", "-t", "60", &nginx.id]).wait().success();
    assert!(nginx.listed().contains("Exited (0)"), "{}", nginx.listed());
    TcpListener::bind(("0.0.0.0", port.parse::<u16>().expect("a number")))
        .expect("the port is free again");
}

#[test]
fn run_image_nginx_works_as_written() {
    needs_container!();
    let host = Host::private();
    host.rvm([
        "load",
        "-q",
        "-i",
        crate::support::archive("nginx").to_str().expect("UTF-8"),
    ])
    .wait()
    .success();
    let run = host.rvm(["run", "--image", "nginx"]);
    let id = crate::support::wait_until("a running container", || {
        host.rvm(["ps", "-q"])
            .wait()
            .success()
            .lines()
            .next()
            .map(str::to_owned)
    });
    let inspected: serde_json::Value =
        serde_json::from_str(&host.rvm(["inspect", &id]).wait().success()).expect("JSON");
    let url = format!(
        "http://{}/",
        inspected[0]["NetworkSettings"]["IPAddress"]
            .as_str()
            .expect("an address")
    );
    let curl = [
        "--silent",
        "--show-error",
        "--fail",
        "--retry",
        "250",
        "--retry-delay",
        "1",
        "--retry-all-errors",
        "--user-agent",
        "judge",
        &url,
    ];
    assert!(host.judge("curl", &curl).contains(TITLE));
    run.wait_for("\"GET / HTTP/1.1\" 200");
    host.rvm(["stop", "-t", "60", &id]).wait().success();
    assert_eq!(run.wait().code(), 0);
}

#[test]
fn a_host_that_forwards_nothing_by_itself_forwards_what_is_published() {
    needs_container!();
    let host = Host::private();
    // As Docker leaves it, with a neighbour on another interface.
    let prepare = "ip link set lo up
        iptables -P FORWARD DROP
        ip netns add neighbour
        ip link add outside type veth peer name eth0 netns neighbour
        ip address add 192.0.2.1/24 dev outside
        ip link set outside up
        ip -n neighbour address add 192.0.2.2/24 dev eth0
        ip -n neighbour link set eth0 up
        ip -n neighbour route add default via 192.0.2.1";
    host.judge("sh", &["-ec", prepare]);
    let rules = || host.judge("nft", &["list", "ruleset"]);
    let before = rules();
    let script = "echo reached > /tmp/index.html; httpd -h /tmp; echo serves; exec sleep 1000000";
    let container = host.detached(["-p", "8080:80", "busybox", "sh", "-c", script]);
    container.wait_for("serves");
    let neighbour = [
        "netns",
        "exec",
        "neighbour",
        "curl",
        "-s",
        "--max-time",
        "60",
    ];
    let reached = host.judge(
        "ip",
        &[&neighbour[..], &["http://192.0.2.1:8080/"]].concat(),
    );
    assert_eq!(reached.trim(), "reached");
    let address = container.address();
    let own = format!("http://{address}/");
    let refused = [&neighbour[..], &["-m", "2", &own]].concat();
    assert!(
        host.start("ip", &refused).wait().code() != 0,
        "not published"
    );
    // The other way as well.
    container.sh("ping -c 1 -W 60 192.0.2.2");
    drop(container);
    assert_eq!(rules(), before);
    host.judge("ip", &["netns", "del", "neighbour"]);
}
