//! ARRIVE: what the browser script posts, without a browser: what is taken, every refusal, and one event for
//! one messageId.
