//! A throw-away certificate authority, and a server's certificate by it.

use std::path::{Path, PathBuf};

use crate::common::{run, str};

pub struct Certificate {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Makes both, for a server of that name.
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = |file: &str| folder.join(file);
        std::fs::create_dir_all(folder).unwrap();
        let (authority, authority_key) = (path("ca.crt"), path("ca.key"));
        let (certificate, key) = (path("server.crt"), path("server.key"));
        let (request, extensions) = (path("request"), path("extensions"));
        let new = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        let openssl = |more: &[&str]| run("openssl", &[&new[..], more].concat());
        openssl(&[
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=an authority of tests",
            "-addext",
            "keyUsage=keyCertSign",
            "-keyout",
            str(&authority_key),
            "-out",
            str(&authority),
        ]);
        openssl(&[
            "-subj",
            "/CN=a server",
            "-keyout",
            str(&key),
            "-out",
            str(&request),
        ]);
        std::fs::write(&extensions, format!("subjectAltName=DNS:{name}\n")).unwrap();
        run(
            "openssl",
            &[
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                str(&request),
                "-CA",
                str(&authority),
                "-CAkey",
                str(&authority_key),
                "-CAcreateserial",
                "-extfile",
                str(&extensions),
                "-out",
                str(&certificate),
            ],
        );
        Self {
            authority,
            certificate,
            key,
        }
    }
}
