//! Users and groups of an image, as Docker reads them: `name`, `uid`, `name:group`, `uid:gid`.

use std::collections::BTreeSet;

use rvm_agent_protocol::{Failure, FailureKind};

use crate::inside::Inside;

/// Why a user could not be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name is not in /etc/passwd.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// The name is not in /etc/group.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A further group is not in /etc/group.
    #[error("Unable to find group {0}")]
    NoFurtherGroup(String),
    /// The number is not one of a user or group.
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: FailureKind::UnknownUser,
            message: error.to_string(),
        }
    }
}

/// A user with everything that a process takes from it.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// The home folder.
    pub home: String,
}

/// What an image says about users and groups.
pub struct Accounts {
    /// The text of /etc/passwd.
    pub passwd: String,
    /// The text of /etc/group.
    pub group: String,
}

impl Accounts {
    /// Reads both files; a missing one is empty.
    pub fn read(inside: &Inside) -> Self {
        Self {
            passwd: inside.text("/etc/passwd"),
            group: inside.text("/etc/group"),
        }
    }
}

/// Resolves `text` with the contents of the image's /etc/passwd and /etc/group.
///
/// An empty text is user 0. A number need not be in the files. Supplementary groups are those that list the user, unless a group
/// is asked for by name or number.
pub fn resolve(text: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let (user, wanted_group) = text.split_once(':').unwrap_or((text, ""));
    let number = parse(user);
    let entry = passwd
        .lines()
        .filter_map(Passwd::parse)
        .find(|entry| match user {
            "" => entry.uid == 0,
            name => entry.name == name || Some(entry.uid) == number,
        });
    let (uid, mut gid, home) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) if user.is_empty() => (0, 0, ""),
        (None, None) if is_number(user) => return Err(Error::Range),
        (None, None) => return Err(Error::NoUser(user.to_owned())),
    };
    let groups = group.lines().filter_map(Group::parse);
    let mut supplementary = BTreeSet::new();
    if wanted_group.is_empty() {
        if let Some(Passwd { name, .. }) = entry {
            supplementary.extend(
                groups
                    .filter(|g| g.members.split(',').any(|m| m == name))
                    .map(|g| g.gid),
            );
        }
    } else {
        let number = parse(wanted_group);
        let mut found = groups
            .filter(|g| g.name == wanted_group || Some(g.gid) == number)
            .map(|g| g.gid);
        gid = match found.next().or(number) {
            Some(gid) => gid,
            None if is_number(wanted_group) => return Err(Error::Range),
            None => return Err(Error::NoGroup(wanted_group.to_owned())),
        };
    }
    supplementary.remove(&gid);
    let groups = std::iter::once(gid).chain(supplementary).collect();
    // A process without a home is at the root.
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    Ok(User {
        uid,
        gid,
        groups,
        home,
    })
}

/// The number of a group that is given by name or number.
pub fn group(text: &str, file: &str) -> Result<u32, Error> {
    let named = file
        .lines()
        .filter_map(Group::parse)
        .find(|group| group.name == text)
        .map(|group| group.gid);
    match named.or_else(|| parse(text)) {
        Some(gid) => Ok(gid),
        None if is_number(text) => Err(Error::Range),
        None => Err(Error::NoFurtherGroup(text.to_owned())),
    }
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Passwd<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or("");
        Some(Self {
            name,
            uid: parse(uid)?,
            gid: parse(gid)?,
            home,
        })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (_password, gid) = (fields.next()?, fields.next()?);
        Some(Self {
            name,
            gid: parse(gid)?,
            members: fields.next().unwrap_or(""),
        })
    }
}

fn parse(number: &str) -> Option<u32> {
    number
        .parse::<i32>()
        .ok()
        .and_then(|n| u32::try_from(n).ok())
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "# comment\nroot:x:0:0:root:/root:/bin/sh\nbad line\n\
        app:x:1000:1000:App:/home/app:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n7:x:70:71::/seven:\n";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:root,app\napp:x:1000:\nwww-data:x:33:\naudio:x:29:app\n";

    fn user(text: &str) -> Result<(u32, u32, Vec<u32>, String), Error> {
        resolve(text, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups, u.home))
    }

    #[test]
    fn nothing_is_root_with_the_groups_of_root() {
        assert_eq!(user(""), Ok((0, 0, vec![0, 10], "/root".into())));
        assert_eq!(
            resolve("", "", "").map(|u| (u.uid, u.gid, u.home)),
            Ok((0, 0, "/".into()))
        );
    }

    #[test]
    fn a_name_brings_its_group_its_supplementary_groups_and_its_home() {
        assert_eq!(
            user("app"),
            Ok((1000, 1000, vec![1000, 10, 29], "/home/app".into()))
        );
        assert_eq!(user("1000"), user("app"));
    }

    #[test]
    fn a_group_that_is_asked_for_is_the_only_one() {
        assert_eq!(
            user("app:audio"),
            Ok((1000, 29, vec![29], "/home/app".into()))
        );
        assert_eq!(
            user("app:4242"),
            Ok((1000, 4242, vec![4242], "/home/app".into()))
        );
        assert_eq!(user(":wheel"), Ok((0, 10, vec![10], "/root".into())));
    }

    #[test]
    fn further_groups_are_named_or_numbered() {
        assert_eq!(group("audio", GROUP), Ok(29));
        assert_eq!(group("4242", GROUP), Ok(4242));
        assert_eq!(group("-1", GROUP), Err(Error::Range));
        assert_eq!(
            group("nope", GROUP),
            Err(Error::NoFurtherGroup("nope".into()))
        );
    }

    #[test]
    fn a_number_need_not_be_known() {
        assert_eq!(user("4242"), Ok((4242, 0, vec![0], "/".into())));
        assert_eq!(user("4242:5"), Ok((4242, 5, vec![5], "/".into())));
    }

    #[test]
    fn a_name_that_is_a_number_is_a_name_first() {
        assert_eq!(user("7"), Ok((70, 71, vec![71], "/seven".into())));
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused() {
        assert_eq!(user("nobody"), Err(Error::NoUser("nobody".into())));
        assert_eq!(user("app:staff"), Err(Error::NoGroup("staff".into())));
        assert_eq!(user("2147483648"), Err(Error::Range));
        assert_eq!(user("-1"), Err(Error::Range));
        assert_eq!(user("0:99999999999"), Err(Error::Range));
    }
}
