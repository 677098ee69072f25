//! `initialize`: a session begins, and with it, under session isolation, a child.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderValue;

use super::exchange::First;
use super::session::Session;
use super::{Bridge, Failure, reply, session_id};
use crate::http::Reply;
use crate::mcp::{Kind, Message, Version};
use crate::resource::{Principal, Transport};
use crate::upstream::{Attachment, Caller, JoinError, SendError};

/// An `initialize` that the server agreed to.
pub(super) const STARTED: Kind = Kind::Response { is_error: false };

/// What the client hears if its child is gone before there is a session.
const EXITED: &str = "the server exited before it answered initialize";

/// What the clients of a session that made room are told.
const REPLACED: &str = "a newer session of the same user took its place";

impl Bridge {
    /// Opens a session. A session id that came with the request is not looked at: clients send
    /// stale ones (VS Code, Claude), and an id of the client's choosing never becomes a session
    ///
    pub(super) async fn initialize(&self, message: &Message, principal: &Principal) -> Reply {
        let Some(session) = self.mint(principal, Transport::StreamableHttp) else {
            return reply::too_many_sessions();
        };
        let (answer, starting) = match self.start(&session, message, principal).await {
            Ok(started) => started,
            Err(reply) => return reply,
        };
        if answer.kind() != STARTED {
            return reply::json(answer.bytes().clone());
        }
        starting.succeeded();
        let version = answer
            .protocol_version()
            .as_deref()
            .and_then(Version::parse);
        self.open(session, answer.bytes().clone(), version)
    }

    /// Gets the session a child, and that child's answer to `initialize`. Unless the caller says
    /// that it was a success, the session ends here.
    pub(super) async fn start<'s>(
        &self,
        session: &'s Arc<Session>,
        message: &Message,
        principal: &Principal,
    ) -> Result<(Message, Starting<'s>), Reply> {
        // Until the answer is here, a client that goes away takes the session with it.
        let starting = Starting(session);
        let child = self.join(principal, session).await;
        session.attach(child.map_err(|error| self.no_child(message, &error))?);
        let asked = session.request(message, true);
        let exchange = asked.map_err(|error| match error {
            // It was quicker to exit than we to ask. Not a 404: there is no session to be unknown.
            SendError::Gone => self.exited(message),
            error => reply::not_sent(message, &error),
        })?;
        let patience = self.settings.start_timeout;
        let Ok(First::Answer(answer)) = tokio::time::timeout(patience, exchange.first()).await
        else {
            self.failures.count(Failure::Slow);
            let why = "the server did not start in time";
            return Err(reply::unavailable(message, why));
        };
        if session.has_ended() {
            return Err(self.exited(message));
        }
        Ok((answer, starting))
    }

    fn no_child(&self, message: &Message, error: &JoinError) -> Reply {
        if let Some(failure) = Failure::of_start(error) {
            self.failures.count(failure);
        }
        reply::no_child(message, error)
    }

    fn exited(&self, message: &Message) -> Reply {
        self.failures.count(Failure::NotStarted);
        reply::bad_gateway(message, EXITED)
    }

    /// If need be in the place of a session that nobody would miss.
    pub(super) fn mint(&self, principal: &Principal, transport: Transport) -> Option<Arc<Session>> {
        self.sessions.mint(principal, transport).or_else(|| {
            let spare = self.sessions.spare(principal)?;
            spare.close(REPLACED);
            drop(spare);
            self.sessions.mint(principal, transport)
        })
    }

    async fn join(
        &self,
        principal: &Principal,
        session: &Arc<Session>,
    ) -> Result<Attachment<Session>, JoinError> {
        let identity = &principal.identity;
        let caller = Caller {
            subject: identity.subject.as_str().to_owned(),
            login: identity.login.clone(),
            email: identity.email.clone(),
            groups: identity.groups.clone(),
        };
        let refused = match self.children.join(&caller, Arc::clone(session)).await {
            Err(JoinError::Full) => JoinError::Full,
            outcome => return outcome,
        };
        let Some(spare) = self.sessions.spare(principal) else {
            return Err(refused);
        };
        spare.close(REPLACED);
        self.children.join(&caller, Arc::clone(session)).await
    }

    fn open(&self, session: Arc<Session>, answer: Bytes, version: Option<Version>) -> Reply {
        if let Some(version) = version {
            session.agree_on(version);
        }
        let mut reply = reply::json(answer);
        if let Ok(id) = HeaderValue::from_str(session.id()) {
            reply.headers_mut().insert(session_id::HEADER, id);
        }
        self.sessions.insert(session);
        reply
    }
}

/// Closes a session that did not come to be.
pub(super) struct Starting<'s>(&'s Session);

impl Starting<'_> {
    pub(super) fn succeeded(self) {
        std::mem::forget(self);
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.close("the session did not start");
    }
}
