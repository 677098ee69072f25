//! Listening sockets: bound before anything is served, so that an address in use ends the start
//! and not the service.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Address, PassedSockets, Settings};

/// Connections that the kernel holds until a worker takes them.
const BACKLOG: i32 = 1024;

/// A proxy of the same group may connect, others may not.
const UNIX_MODE: u32 = 0o660;

/// After this many milliseconds without a sign of life for data we sent, the kernel gives a
/// connection up: a peer that vanished without a word holds nothing for long.
const USER_TIMEOUT: u32 = 60_000;

/// The addresses of [`Settings`], bound.
pub struct Bound {
    pub(super) doors: Vec<Door>,
    pub(super) settings: Settings,
}

/// A listening socket, and whether TLS is spoken there.
pub(super) struct Door {
    pub(super) socket: Socket,
    pub(super) is_secure: bool,
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({flag}): {}", explain(.cause))]
pub struct BindError {
    pub address: Address,
    /// The flag that names it.
    pub flag: &'static str,
    #[source]
    pub cause: io::Error,
}

fn explain(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "another program already listens there".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        io::ErrorKind::PermissionDenied => "not permitted".into(),
        io::ErrorKind::AlreadyExists => "there is a file at this path that is no socket".into(),
        _ => cause.to_string(),
    }
}

impl BindError {
    /// What to do about it, if that is not plain.
    pub fn hint(&self) -> Option<String> {
        if self.cause.kind() != io::ErrorKind::PermissionDenied {
            return None;
        }
        Some(match &self.address {
            Address::Tcp(address) if address.port() < 1024 => format!(
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE (in a systemd unit: \
                 `AmbientCapabilities=CAP_NET_BIND_SERVICE`), or a socket that systemd passes; or \
                 name another port by {}",
                self.flag
            ),
            Address::Tcp(_) => "something on this machine forbids it: look at its audit log".into(),
            Address::Unix(_) => "its directory must be writable for the guard's user".into(),
        })
    }
}

/// Binds every address; or none, if there are sockets that were opened already: those replace them
/// all.
pub fn bind(settings: &Settings, passed: PassedSockets) -> Result<Bound, BindError> {
    if !passed.is_empty() {
        return Ok(Bound {
            doors: passed.doors,
            settings: settings.clone(),
        });
    }
    let clear = settings.addresses.iter();
    let mut doors = clear
        .map(|address| Door::open(address, false))
        .collect::<Result<Vec<_>, _>>()?;
    for address in settings.tls.iter().flat_map(|tls| &tls.addresses) {
        doors.push(Door::open(address, true)?);
    }
    for address in &settings.if_possible {
        match Door::open(address, false) {
            Ok(door) => doors.push(door),
            Err(error) if settings.tls.is_some() => tracing::warn!(%error,
                "plain http is not redirected, and the CA cannot ask there (HTTP-01)"),
            Err(error) => tracing::debug!(%address, cause = %error.cause, "not listening there"),
        }
    }
    Ok(Bound {
        doors,
        settings: settings.clone(),
    })
}

impl Door {
    fn open(address: &Address, is_secure: bool) -> Result<Self, BindError> {
        match Socket::bind(address) {
            Ok(socket) => Ok(Self { socket, is_secure }),
            Err(cause) => Err(BindError {
                address: address.clone(),
                flag: if is_secure {
                    "--tls-listen"
                } else {
                    "--listen"
                },
                cause,
            }),
        }
    }
}

impl Bound {
    /// What was bound, with the ports that the system chose.
    pub fn local_addresses(&self) -> Vec<Address> {
        let shown = |door: &Door| match &door.socket {
            Socket::Tcp(listener) => listener.local_addr().ok().map(Address::Tcp),
            Socket::Unix(listener, _) => path_of(listener).map(Address::Unix),
        };
        self.doors.iter().filter_map(shown).collect()
    }
}

fn path_of(listener: &UnixListener) -> Option<PathBuf> {
    let address = listener.local_addr().ok()?;
    address.as_pathname().map(Path::to_owned)
}

/// One listening socket, not blocking.
pub(super) enum Socket {
    Tcp(TcpListener),
    /// With its file, if that is ours to remove.
    Unix(UnixListener, Option<SocketFile>),
}

impl Socket {
    /// Closes the socket; its file stays until what is returned is dropped.
    pub(super) fn into_file(self) -> Option<SocketFile> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, file) => file,
        }
    }

    /// A socket that somebody else has opened, with a queue as long as they saw fit.
    pub(super) fn of_tcp(listener: TcpListener) -> io::Result<Self> {
        set_options(&listener)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// A socket that somebody else has opened, and whose file is theirs.
    pub(super) fn of_unix(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener, None))
    }

    fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                // Sets SO_REUSEADDR: a restart need not wait for TIME_WAIT.
                let listener = TcpListener::bind(address)
                    .or_else(|error| bind_without_ipv6(*address, error))?;
                // A second listen only changes the length of the queue.
                rustix::net::listen(&listener, BACKLOG)?;
                Self::of_tcp(listener)
            }
            Address::Unix(path) => bind_unix(path),
        }
    }
}

/// `[::]` means every address: on machines without IPv6 those are 0.0.0.0.
fn bind_without_ipv6(address: SocketAddr, error: io::Error) -> io::Result<TcpListener> {
    let is_unsupported = error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
    if !is_unsupported || address.ip() != Ipv6Addr::UNSPECIFIED {
        return Err(error);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
}

/// Accepted sockets inherit these: no system call per connection.
fn set_options(listener: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&listener, true)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(&listener, USER_TIMEOUT)?;
    Ok(())
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    remove_stale(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // The file takes its mode from the socket, less the umask: never wider than it should be, even
    // before the next line but two sets it exactly.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(UNIX_MODE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let file = SocketFile::of(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(Socket::Unix(socket.into(), Some(file)))
}

/// A socket that nobody answers at is what a guard that was killed left behind.
fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// A socket's file, removed with it, unless another guard has put its own there meanwhile.
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            // At the end there is nobody left to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: Address) -> Settings {
        Settings {
            addresses: vec![address],
            if_possible: Vec::new(),
            tls: None,
            workers: 1,
            max_connections: 10,
            max_connections_per_address: 10,
            proxies: None,
        }
    }

    fn bind_one(address: Address) -> Result<Bound, BindError> {
        bind(&settings(address), PassedSockets::default())
    }

    #[test]
    fn an_address_in_use_is_named_with_its_flag() {
        let first = bind_one("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addresses().remove(0);
        let error = bind_one(taken.clone()).err().unwrap().to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
        assert!(
            error.contains("--listen") && error.contains("another program"),
            "{error}"
        );
    }

    #[test]
    fn a_port_that_needs_privileges_says_how_to_get_it() {
        let refused = |address: &str| BindError {
            address: address.parse().unwrap(),
            flag: "--tls-listen",
            cause: io::ErrorKind::PermissionDenied.into(),
        };
        let hint = refused("[::]:443").hint().unwrap();
        for text in ["CAP_NET_BIND_SERVICE", "systemd", "--tls-listen"] {
            assert!(hint.contains(text), "{hint}");
        }
        assert!(refused("unix:/root/x").hint().unwrap().contains("writable"));
        let taken = BindError {
            cause: io::ErrorKind::AddrInUse.into(),
            ..refused("[::]:443")
        };
        assert_eq!(taken.hint(), None);
    }

    #[test]
    fn the_port_that_the_system_chose_is_shown() {
        let bound = bind_one("[::1]:0".parse().unwrap())
            .or_else(|_| bind_one("127.0.0.1:0".parse().unwrap()))
            .unwrap();
        assert!(
            matches!(bound.local_addresses()[..], [Address::Tcp(address)] if address.port() > 0)
        );
    }

    #[test]
    fn a_unix_socket_is_for_its_group_and_goes_with_the_guard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.sock");
        let bound = bind_one(Address::Unix(path.clone())).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, UNIX_MODE);
        assert!(UnixStream::connect(&path).is_ok());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.sock");
        // std leaves the file behind, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());
        let live = bind_one(Address::Unix(path.clone())).unwrap();
        let error = bind_one(Address::Unix(path)).err().unwrap();
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
        drop(live);
    }

    #[test]
    fn another_guards_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.sock");
        let old = bind_one(Address::Unix(path.clone())).unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        let new = bind_one(Address::Unix(path.clone())).unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "keep").unwrap();
        let error = bind_one(Address::Unix(path.clone())).err().unwrap();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"keep");
    }
}
