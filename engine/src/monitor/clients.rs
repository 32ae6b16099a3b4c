//! The attached clients that receive the container's output.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rvm_agent_protocol::Kind;

/// Chunks of output that are queued for a client before the container waits for it; a chunk has 32 KiB at most.
const QUEUE: usize = 32;

/// A chunk of output.
pub type Chunk = (Kind, Arc<[u8]>);

/// The clients.
#[derive(Debug, Default)]
pub struct Clients(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    members: Vec<Member>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Member {
    id: u64,
    sender: SyncSender<Chunk>,
    output: bool,
}

/// Stands for a client in [`Clients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(u64);

impl Clients {
    /// Adds a client, which receives nothing but the end unless it wants `output`. Its receiver ends when the client is removed or
    /// the container's output has ended.
    pub fn add(&self, output: bool) -> (ClientId, Receiver<Chunk>) {
        let (sender, receiver) = sync_channel(QUEUE);
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = list.next;
        list.next += 1;
        if !list.closed {
            list.members.push(Member { id, sender, output });
        }
        (ClientId(id), receiver)
    }

    /// Removes a client.
    pub fn remove(&self, client: ClientId) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.members.retain(|member| member.id != client.0);
    }

    /// Gives all clients a chunk, and waits for those whose queue is full. Clients that have gone are removed.
    pub fn send(&self, kind: Kind, bytes: Vec<u8>) {
        // Not under the lock: a client must be able to go while it is waited for.
        let members = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .members
            .clone();
        let bytes: Arc<[u8]> = bytes.into();
        for member in members.into_iter().filter(|member| member.output) {
            if member.sender.send((kind, bytes.clone())).is_err() {
                self.remove(ClientId(member.id));
            }
        }
    }

    /// Ends all receivers, once they have taken what is queued, and those of clients yet to come.
    pub fn close(&self) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.closed = true;
        list.members.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_receives_everything() {
        let clients = Clients::default();
        let (_, first) = clients.add(true);
        let (second_id, second) = clients.add(true);
        clients.send(Kind::Stdout, b"a".to_vec());
        clients.remove(second_id);
        clients.send(Kind::Stderr, b"b".to_vec());
        clients.close();
        let (_, late) = clients.add(true);
        assert_eq!(
            first
                .iter()
                .map(|(_, bytes)| bytes.to_vec())
                .collect::<Vec<_>>(),
            [b"a", b"b"]
        );
        assert_eq!(second.iter().count(), 1);
        assert_eq!(late.iter().count(), 0);
    }

    #[test]
    fn a_client_that_goes_does_not_hold_the_container_up() {
        let clients = Clients::default();
        let (_, receiver) = clients.add(true);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..2 * QUEUE).for_each(|_| clients.send(Kind::Stdout, vec![0])));
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(receiver);
        });
    }
}
