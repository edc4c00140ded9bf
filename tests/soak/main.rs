//! The suites that take longer than a minute each.
