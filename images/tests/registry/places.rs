//! Where registries are: mirrors, insecure ones, proxies; and what need not be sent to them.

use rvm_images::registry::{open_url, search};
use rvm_images::{Digest, ImportOptions, Store};
use serde_json::json;

use crate::access::give;
use crate::certificate::Certificate;
use crate::common::layers::{layer, noise};
use crate::common::{str, tempdir};
use crate::fixed::Fixed;
use crate::proxy::Proxy;
use crate::real::{Access, Registry};
use crate::round_trip::fill;
use crate::user::User;

#[test]
fn docker_s_images_come_from_mirrors_first() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    fill(&layout);
    let certificate = Certificate::new(folder.path(), "registry-1.docker.io");
    let hub = Registry::start(Access::Tls(&certificate));
    hub.fill(&layout, "library/both:1", &[]);
    hub.fill(&layout, "library/hub:1", &[]);
    let mirror = Registry::start(Access::Open);
    mirror.fill(&layout, "library/both:1", &[]);
    let proxy = Proxy::start(&[("registry-1.docker.io:443", &hub.host)]);
    let dead = "http://127.0.0.1:9";
    let user = User::new()
        .set("HTTPS_PROXY", &proxy.url)
        .set("SSL_CERT_FILE", str(&certificate.authority))
        .registries(&json!({"registry-mirrors": [dead, format!("http://{}/", mirror.host)]}));

    user.act(&["pull", "both:1"]).unwrap();
    assert!(mirror.log().contains("GET /v2/library/both/manifests/1"));
    assert_eq!(proxy.tunnels(), [""; 0], "Docker's own was not asked");
    user.act(&["pull", "hub:1"]).unwrap();
    assert!(hub.log().contains("GET /v2/library/hub/manifests/1"));
    let err = user.act(&["pull", "neither:1"]).unwrap_err();
    assert!(err.contains("manifest unknown"), "{err}");
    // What is pushed goes to the registry itself, and other registries have no mirrors.
    let before = mirror.log();
    user.act(&["push", "both:1"]).unwrap();
    assert_eq!(mirror.log(), before);
    let err = user.act(&["pull", "127.0.0.1:9/both:1"]).unwrap_err();
    assert!(err.contains("127.0.0.1:9"), "{err}");
    // Whoever has another file in mind names it.
    let none = user.write("none.json", "{}");
    let user = user.set("RVM_REGISTRIES", str(&none));
    user.act(&["pull", "both:1"]).unwrap();
    assert_eq!(mirror.log(), before);
}

#[test]
fn a_file_of_registries_that_is_wrong_is_named() {
    let user = User::new().registries(&json!({"registry-mirrors": "https://one.test"}));
    let err = user.act(&["pull", "127.0.0.1:9/x"]).unwrap_err();
    assert!(err.contains("registries.json"), "{err}");
}

#[test]
fn a_limit_that_the_user_sets_holds_for_pulls() {
    let folder = tempdir();
    let layout = folder.path().join("layout");
    fill(&layout);
    let registry = Registry::start(Access::Open);
    registry.fill(&layout, "large:1", &[]);
    let name = format!("{}/large:1", registry.host);
    for (variable, limit) in [("RVM_LAYER_BYTES", "6000"), ("RVM_LAYER_ENTRIES", "2")] {
        let err = User::new()
            .set(variable, limit)
            .act(&["pull", &name])
            .unwrap_err();
        assert!(
            err.contains("layer entry `") && err.contains(variable),
            "{err}"
        );
    }
    User::new().act(&["pull", &name]).unwrap();
}

#[test]
fn plain_http_is_for_those_registries_that_are_listed() {
    let registry = Registry::start(Access::Open);
    let proxy = Proxy::start(&[("registry.test:5000", &registry.host)]);
    let name = "registry.test:5000/app:1";
    let user = || {
        User::new()
            .set("HTTP_PROXY", &proxy.url)
            .set("HTTPS_PROXY", &proxy.url)
    };
    let strict = user();
    give(&strict, name);
    assert!(strict.act(&["push", name]).is_err());
    assert!(!registry.log().contains("/v2/app"), "{}", registry.log());
    let lax = user().registries(&json!({"insecure-registries": ["registry.test:5000"]}));
    give(&lax, name);
    let pushed = lax.act(&["push", name]).unwrap();
    assert_eq!(lax.act(&["pull", name]).unwrap(), pushed);
}

#[test]
fn no_proxy_is_asked_for_loopback_and_what_is_excepted() {
    let registry = Registry::start(Access::Open);
    let proxy = Proxy::start(&[]);
    let user = User::new()
        .set("http_proxy", &proxy.url)
        .set("HTTPS_PROXY", &proxy.url)
        .set("NO_PROXY", "registry.test");
    let name = format!("{}/app:1", registry.host);
    give(&user, &name);
    user.act(&["push", &name]).unwrap();
    assert_eq!(proxy.tunnels(), [""; 0]);
    // There is no such host.
    let err = user.act(&["pull", "registry.test:5000/app:1"]).unwrap_err();
    assert!(!err.contains("proxy"), "{err}");
    assert_eq!(proxy.tunnels(), [""; 0]);
    let err = user.act(&["pull", "another.test:5000/app:1"]).unwrap_err();
    assert!(err.contains("proxy"), "{err}");
    assert_eq!(proxy.tunnels()[0], "another.test:5000");
}

#[test]
fn layers_that_the_registry_has_are_not_sent_again() {
    let registry = Registry::start(Access::Open);
    let user = User::new();
    let (first, second) = (
        format!("{}/team/first:1", registry.host),
        format!("{}/team/second:1", registry.host),
    );
    give(&user, &first);
    user.act(&["push", &first]).unwrap();
    let store = user.store();
    let image = store.resolve(&first).unwrap();
    store.tag(&image, second.parse().unwrap()).unwrap();
    user.act(&["push", &second]).unwrap();
    let log = registry.log();
    let count = |method: &str, path: &str, status: &str| {
        let is_it = |line: &&str| {
            line.contains(&format!("\"{method} /v2/{path}"))
                && line.contains(&format!("\" {status} "))
        };
        log.lines().filter(is_it).count()
    };
    let blobs = image.layers.len() + 1;
    assert_eq!(
        count("PUT", "team/first/blobs/uploads/", "201"),
        blobs,
        "{log}"
    );
    assert_eq!(
        count("POST", "team/second/blobs/uploads/?mount=sha256:", "201"),
        blobs,
        "{log}"
    );
    assert_eq!(count("PUT", "team/second/blobs/", "201"), 0, "{log}");
    // Where the registry does not find it, it is sent.
    let gone = format!("{}/team/third:1", registry.host);
    std::fs::remove_dir_all(registry.storage().join("team/first")).unwrap();
    std::fs::remove_dir_all(registry.storage().join("team/second")).unwrap();
    store.tag(&image, gone.parse().unwrap()).unwrap();
    let pushed = user.act(&["push", &gone]).unwrap();
    assert_eq!(User::new().act(&["pull", &gone]).unwrap(), pushed);
}

#[test]
fn all_tags_are_pushed_and_pulled() {
    let registry = Registry::start(Access::Open);
    let user = User::new();
    let name = |tag: &str| format!("{}/app:{tag}", registry.host);
    give(&user, &name("1"));
    let store = user.store();
    let image = store.resolve(&name("1")).unwrap();
    for tag in ["2", "three"] {
        store.tag(&image, name(tag).parse().unwrap()).unwrap();
    }
    for tag in ["1", "2", "three"] {
        user.act(&["push", &name(tag)]).unwrap();
    }
    let other = User::new();
    let tags = other.act(&["tags", &name("1")]).unwrap();
    let mut tags: Vec<_> = tags.split(' ').collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2", "three"]);
    for tag in tags {
        other.act(&["pull", &name(tag)]).unwrap();
    }
    assert_eq!(other.store().list().unwrap().len(), 3);
    let err = other
        .act(&["tags", &format!("{}/none", registry.host)])
        .unwrap_err();
    assert!(err.contains("manifest unknown"), "{err}");
}

#[test]
fn tags_come_in_pages() {
    let server = Fixed::start(|path| {
        let (tags, next) = match path {
            "/v2/app/tags/list" => (
                json!(["a", "b"]),
                "Link: </v2/app/tags/list?last=b>; rel=\"next\"\r\n",
            ),
            "/v2/app/tags/list?last=b" => (json!(["c"]), "Link: <?last=c>; rel=\"next\"\r\n"),
            "/v2/app/tags/list?last=c" => (json!(null), "Link: <?last=c>; rel=\"next\"\r\n"),
            _ => return None,
        };
        Some((
            next.to_owned(),
            json!({"name": "app", "tags": tags})
                .to_string()
                .into_bytes(),
        ))
    });
    let tags = User::new().act(&["tags", &format!("{}/app", server.host)]);
    assert_eq!(tags.unwrap(), "a b c");
}

#[test]
fn a_tarball_is_imported_from_its_url() {
    let tar = layer().dir("./").file("file", noise(100_000, 1)).done();
    let body = tar.clone();
    let server =
        Fixed::start(move |path| (path == "/rootfs.tar").then(|| (String::new(), body.clone())));
    let folder = tempdir();
    let store = Store::open(folder.path()).unwrap();
    let tarball = open_url(&format!("http://{}/rootfs.tar", server.host)).unwrap();
    let imported = store.import(tarball, &ImportOptions::default()).unwrap();
    let image = store.resolve(&imported.id.to_string()).unwrap();
    assert_eq!(image.layers[0].diff_id, Digest::of(&tar));
    let missing = open_url(&format!("http://{}/none", server.host)).map(drop);
    assert!(missing.unwrap_err().to_string().contains("404"));
}

#[test]
fn a_search_is_docker_s() {
    let server = Fixed::start(|path| {
        assert!(
            path.starts_with("/v1/search?") || path.starts_with("/v2/"),
            "{path}"
        );
        let results = json!([
            {"name": "team/app", "description": "An \u{1b}[31mapp", "star_count": 7, "is_official": false, "is_automated": false},
            {"name": "nginx", "is_official": true},
        ]);
        let answer = json!({"num_results": 2, "query": "x", "results": results});
        Some((
            "Content-Type: application/json\r\n".to_owned(),
            answer.to_string().into_bytes(),
        ))
    });
    let hits = search(&format!("{}/some app", server.host), 25).unwrap();
    assert_eq!(
        (&*hits[0].name, hits[0].star_count, hits[1].is_official),
        ("team/app", 7, true)
    );
    assert_eq!(
        (&*hits[0].description, &*hits[1].description),
        ("An  [31mapp", "")
    );
    assert!(
        server
            .requests()
            .contains(&"/v1/search?q=some%20app&n=25".to_owned()),
        "{:?}",
        server.requests()
    );
    let none = Fixed::start(|_| None);
    let err = search(&format!("{}/app", none.host), 25).unwrap_err();
    assert!(err.to_string().contains("404"), "{err}");
}
