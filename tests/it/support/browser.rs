//! A browser without a screen: it keeps cookies, reads forms and sends them as Chromium would.

use std::net::Ipv4Addr;

use super::{Answer, Connection, secure};
use mcp_guard::http::form::encode;

/// A person's browser.
#[derive(Clone)]
pub(crate) struct Browser {
    cookies: Vec<(String, String)>,
    address: Ipv4Addr,
}

/// A form as the page shows it.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub action: String,
    pub fields: Vec<(String, String)>,
}

impl Default for Browser {
    fn default() -> Self {
        Self::from(Ipv4Addr::LOCALHOST)
    }
}

impl From<Ipv4Addr> for Browser {
    /// A browser on another machine, as far as addresses tell.
    fn from(address: Ipv4Addr) -> Self {
        Self {
            cookies: Vec::new(),
            address,
        }
    }
}

impl Browser {
    pub(crate) fn get(&mut self, port: u16, target: &str) -> Answer {
        self.send(port, "GET", target, &[("Accept", "text/html")], "")
    }

    /// Submits `form` with further fields, as a click on a button of that page does.
    pub(crate) fn submit(&mut self, port: u16, form: &Form, further: &[(&str, &str)]) -> Answer {
        let origin = secure::origin(port);
        let headers = [
            ("Origin", origin.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        self.post(port, &form.action, &form.with(further), &headers)
    }

    pub(crate) fn post(
        &mut self,
        port: u16,
        target: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send(port, "POST", target, &all, body)
    }

    /// Cookies as `name=value`, as the next request would send them.
    pub(crate) fn cookies(&self) -> String {
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn send(
        &mut self,
        port: u16,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let cookies = self.cookies();
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        let answer =
            Connection::open_from(self.address, port).exchange(method, target, &headers, body);
        for (_, value) in answer
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        {
            let pair = value.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        answer
    }
}

impl Form {
    /// The first form of a page.
    pub(crate) fn of(page: &Answer) -> Self {
        let html = &page.body;
        let form = &html[html
            .find("<form")
            .unwrap_or_else(|| panic!("no form: {page:?}"))..];
        let form = &form[..form.find("</form>").unwrap()];
        let fields = form.split("<input").skip(1).filter_map(|input| {
            let tag = &input[..input.find('>')?];
            Some((attribute(tag, "name")?, attribute(tag, "value")?))
        });
        Self {
            action: attribute(&form[..form.find('>').unwrap()], "action").unwrap(),
            fields: fields.collect(),
        }
    }

    /// What is typed takes the place of what the page had put there.
    pub(crate) fn with(&self, further: &[(&str, &str)]) -> String {
        let typed = |name: &str| further.iter().any(|(field, _)| *field == name);
        let own = self.fields.iter().filter(|(name, _)| !typed(name));
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = own.chain(further.iter().copied());
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        pairs.join("&")
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = &tag[start..];
    Some(unescape(&value[..value.find('"')?]))
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&lt;", "<")
        .replace("&#60;", "<")
        .replace("&gt;", ">")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}
