use http_body_util::BodyExt as _;

use super::*;

fn connection(resume_after: Option<u64>) -> Connection {
    Connection {
        grant: GrantId("g".into()),
        expires: None,
        resume_after,
        priming: false,
        place: None,
    }
}

async fn next(events: &mut Events) -> Option<String> {
    let frame = events.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

async fn all(events: &mut Events) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(event) = next(events).await {
        all.push(event);
    }
    all
}

#[tokio::test]
async fn the_last_awaited_answer_ends_the_stream() {
    let stream = EventStream::answering(1, 2);
    let mut events = stream.connect(connection(None)).unwrap();
    stream.push(b"1");
    stream.push_answer(b"2");
    stream.push_answer(b"3");
    assert_eq!(all(&mut events).await.len(), 3);
}

#[tokio::test]
async fn who_comes_back_gets_the_rest_and_nothing_twice() {
    let stream = EventStream::answering(7, 1);
    let mut events = stream.connect(connection(None)).unwrap();
    stream.push(b"1");
    stream.push(b"2");
    let first = next(&mut events).await.unwrap();
    assert!(first.contains("id: 7-0\n"), "{first}");
    drop(events);
    stream.push_answer(b"3");
    let mut events = stream.connect(connection(Some(0))).unwrap();
    let rest = all(&mut events).await;
    assert_eq!(rest.len(), 2);
    assert!(rest[0].contains("data: 2\n") && rest[1].contains("data: 3\n"));
    assert!(stream.connect(connection(Some(9))).is_none(), "never sent");
}

#[tokio::test]
async fn a_newer_connection_ends_the_older_one() {
    let stream = EventStream::listening();
    let mut older = stream.connect(connection(None)).unwrap();
    let mut newer = stream.connect(connection(None)).unwrap();
    stream.push(b"1");
    assert_eq!(next(&mut older).await, None);
    assert!(next(&mut newer).await.is_some());
    drop(older);
    assert!(stream.is_heard());
}

#[tokio::test(start_paused = true)]
async fn the_older_connection_hears_of_the_newer_at_once() {
    let stream = EventStream::listening();
    let mut older = stream.connect(connection(None)).unwrap();
    let begin = Instant::now();
    let waiting = tokio::spawn(async move { next(&mut older).await });
    tokio::task::yield_now().await;
    let _newer = stream.connect(connection(None)).unwrap();
    assert_eq!(waiting.await.unwrap(), None);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive_with_comments() {
    let stream = EventStream::listening();
    let mut events = stream.connect(connection(None)).unwrap();
    let begin = Instant::now();
    for _ in 0..3 {
        assert!(next(&mut events).await.unwrap().starts_with(':'));
    }
    assert!(begin.elapsed() <= KEEP_ALIVE_EVERY * 3 + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a103_a_listening_stream_ends_with_its_token() {
    let stream = EventStream::listening();
    let begin = Instant::now();
    let expires = Some(begin + Duration::from_secs(20));
    let wanted = Connection {
        expires,
        ..connection(None)
    };
    let mut events = stream.connect(wanted).unwrap();
    all(&mut events).await;
    assert!(begin.elapsed() >= Duration::from_secs(20));
    assert!(begin.elapsed() < Duration::from_secs(21));
}

#[tokio::test]
async fn a120_a_flood_that_nobody_reads_is_bounded_and_keeps_the_newest() {
    let stream = EventStream::listening();
    let message = vec![b'1'; 64 << 10];
    for _ in 0..1000 {
        stream.push(&message);
    }
    stream.push(b"2");
    assert!(stream.held_bytes() <= BACKLOG_BYTES + REPLAY_BYTES + (65 << 10));
    stream.finish();
    let mut events = stream.connect(connection(None)).unwrap();
    assert!(all(&mut events).await.last().unwrap().contains("data: 2\n"));
    assert!(stream.held_bytes() <= REPLAY_BYTES + (65 << 10));
}

/// What is there by now.
async fn present(events: &mut Events) -> Vec<String> {
    let mut present = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, next(events)).await {
        present.push(event);
    }
    present
}

#[tokio::test]
async fn the_only_stream_of_a_session_has_no_ids_and_lasts() {
    let stream = EventStream::only();
    stream.announce(sse::endpoint("/messages?sessionId=x"));
    stream.await_one();
    stream.push_answer(b"1");
    stream.push(b"2");
    let mut events = stream.connect(connection(None)).unwrap();
    let expected = [
        "event: endpoint\ndata: /messages?sessionId=x\n\n",
        "event: message\ndata: 1\n\n",
        "event: message\ndata: 2\n\n",
    ];
    assert_eq!(present(&mut events).await, expected);
    stream.finish();
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_stream_that_concludes_waits_for_the_answers_under_way() {
    let (busy, idle) = (EventStream::only(), EventStream::only());
    busy.await_one();
    let mut events = busy.connect(connection(None)).unwrap();
    busy.conclude();
    idle.conclude();
    assert!(present(&mut events).await.is_empty());
    busy.push_answer(b"1");
    assert_eq!(all(&mut events).await.len(), 1);
    let mut events = idle.connect(connection(None)).unwrap();
    assert!(all(&mut events).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a103_without_a_good_token_only_what_is_owed_is_sent() {
    let stream = EventStream::only();
    let grant = GrantId("g".into());
    let mut events = stream.connect(connection(None)).unwrap();
    stream.prolong(&grant, Instant::now() + Duration::from_secs(1));
    stream.push(b"1");
    assert_eq!(present(&mut events).await.len(), 1);
    tokio::time::advance(Duration::from_secs(3)).await;
    stream.push(b"2");
    assert!(present(&mut events).await.is_empty());
    assert!(!stream.is_heard());
    assert_eq!(stream.unheard_for(), Some(Duration::from_secs(2)));
    stream.accompany(b"3");
    stream.push(b"4");
    assert_eq!(present(&mut events).await.len(), 2, "what came before, too");
    stream.prolong(
        &GrantId("other".into()),
        Instant::now() + Duration::from_mins(1),
    );
    assert!(present(&mut events).await.is_empty());
    stream.prolong(&grant, Instant::now() + Duration::from_mins(1));
    assert_eq!(present(&mut events).await.len(), 1);
    assert!(stream.is_heard());
    assert_eq!(stream.unheard_for(), Some(Duration::ZERO));
}

#[tokio::test]
async fn an_event_larger_than_every_bound_still_arrives() {
    let stream = EventStream::answering(1, 1);
    stream.push_answer(&vec![b'1'; 2 * BACKLOG_BYTES]);
    let mut events = stream.connect(connection(None)).unwrap();
    assert!(next(&mut events).await.unwrap().len() > 2 * BACKLOG_BYTES);
}
