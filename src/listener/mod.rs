//! Sockets, connections, their limits, and the drain at the end.
