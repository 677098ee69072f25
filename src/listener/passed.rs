//! Listening sockets that a service manager has opened and passes on (`sd_listen_fds(3)`): ports
//! below 1024 without privileges, and restarts during which clients wait instead of being refused.

use std::io;
use std::num::ParseIntError;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::socket::{Door, Socket};

/// The sockets that were passed, each with what it is for.
#[derive(Default)]
pub struct PassedSockets {
    pub(super) doors: Vec<Door>,
    /// For metrics.
    admin: Vec<Door>,
}

/// What a socket is for, by its name (`FileDescriptorName=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Http,
    Https,
    Admin,
}

/// Why passed sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    #[error("LISTEN_FDS is no count of sockets")]
    NotACount(#[source] ParseIntError),
    #[error(
        "{0} sockets were passed, and their names do not tell them apart: name them `http` and \
         `https` by FileDescriptorName= in their .socket units"
    )]
    TooMany(usize),
    #[error(
        "passed socket {0} is no stream socket that listens: set Accept=no in its .socket unit"
    )]
    NotListening(usize),
    #[error("passed socket {0} cannot be taken over")]
    Unusable(usize, #[source] io::Error),
}

impl PassedSockets {
    /// Takes over what was passed to this process; nothing, mostly. To be called once, before any
    /// thread is started or file opened: the descriptors are known by their numbers alone.
    pub fn take() -> Result<Self, PassedError> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        // They may be meant for the process that started us.
        if variable("LISTEN_PID") != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let count: usize = variable("LISTEN_FDS")
            .parse()
            .map_err(PassedError::NotACount)?;
        let roles = roles(count, &variable("LISTEN_FDNAMES"))?;
        let mut passed = ListenFd::from_env();
        let mut taken = Self::default();
        for (index, role) in roles.into_iter().enumerate() {
            let door = door(&mut passed, index, role)?;
            match role {
                Role::Http | Role::Https => taken.doors.push(door),
                Role::Admin => taken.admin.push(door),
            }
        }
        Ok(taken)
    }

    /// Takes those for the admin listener out.
    pub fn take_admin(&mut self) -> Self {
        Self {
            doors: std::mem::take(&mut self.admin),
            admin: Vec::new(),
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.doors.is_empty()
    }
}

/// By name, or else by order: plain HTTP first, then TLS; never for metrics. systemd names a socket after its unit
/// unless told otherwise, so every other name is no name.
fn roles(count: usize, names: &str) -> Result<Vec<Role>, PassedError> {
    let mut unnamed = [Role::Http, Role::Https].into_iter();
    let mut names = names.split(':');
    let role = |_| match names.next().unwrap_or_default() {
        "http" => Ok(Role::Http),
        "https" => Ok(Role::Https),
        "admin" => Ok(Role::Admin),
        _ => unnamed.next().ok_or(PassedError::TooMany(count)),
    };
    (0..count).map(role).collect()
}

fn door(passed: &mut ListenFd, index: usize, role: Role) -> Result<Door, PassedError> {
    let number = index + 1;
    let socket = take(passed, index).ok_or(PassedError::NotListening(number))?;
    let socket = socket.map_err(|error| PassedError::Unusable(number, error))?;
    Ok(Door {
        socket,
        is_secure: role == Role::Https,
    })
}

/// `None` if it is neither.
fn take(passed: &mut ListenFd, index: usize) -> Option<io::Result<Socket>> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
        let listens = sockopt::socket_acceptconn(&listener).unwrap_or(false);
        return listens.then(|| Socket::of_tcp(listener));
    }
    let listener = passed.take_unix_listener(index).ok()??;
    let listens = sockopt::socket_acceptconn(&listener).unwrap_or(false);
    listens.then(|| Socket::of_unix(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_socket_is_for_and_then_the_order() {
        use Role::{Admin, Http, Https};
        for (count, names, expected) in [
            (0, "", &[][..]),
            (1, "", &[Http]),
            (2, "", &[Http, Https]),
            (1, "guard.socket", &[Http]),
            (2, "https:http", &[Https, Http]),
            (2, "https:guard.socket", &[Https, Http]),
            (3, "http:http:https", &[Http, Http, Https]),
            (2, "guard.socket:guard.socket", &[Http, Https]),
            (2, "admin:guard.socket", &[Admin, Http]),
        ] {
            assert_eq!(roles(count, names).unwrap(), expected, "{names}");
        }
    }

    #[test]
    fn sockets_that_nobody_could_tell_apart_are_refused() {
        assert!(matches!(roles(3, ""), Err(PassedError::TooMany(3))));
    }

    #[test]
    fn sockets_for_another_process_are_left_alone() {
        // Nobody passes any to a test.
        assert!(PassedSockets::take().unwrap().is_empty());
    }
}
