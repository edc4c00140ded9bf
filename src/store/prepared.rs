//! Statements that stay prepared: what is run for every event is looked up by the address of its text,
//! where the connection's own cache hashes and compares the whole text twice for each use. Knows no table.

use crate::error::Result;
use rusqlite::{CachedStatement, Connection, Statement};
use std::cell::RefCell;
use std::ops::Deref;

/// Where a statement can be had from, ready to be bound.
pub trait Prepare {
    /// Runs `work` with the statement of `sql`, nothing of which is bound.
    ///
    /// # Errors
    /// When the statement cannot be prepared, and what `work` says.
    fn with_statement<T>(
        &self,
        sql: &'static str,
        work: impl FnOnce(&mut Statement<'_>) -> Result<T>,
    ) -> Result<T>;
}

impl Prepare for Connection {
    fn with_statement<T>(
        &self,
        sql: &'static str,
        work: impl FnOnce(&mut Statement<'_>) -> Result<T>,
    ) -> Result<T> {
        work(&mut *self.prepare_cached(sql)?)
    }
}

/// A connection whose few hottest statements are kept at hand for as long as this lives.
pub struct Prepared<'c> {
    connection: &'c Connection,
    held: RefCell<Vec<(&'static str, CachedStatement<'c>)>>,
}

impl<'c> Prepared<'c> {
    /// None is at hand yet.
    pub fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            held: RefCell::default(),
        }
    }
}

impl Deref for Prepared<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Prepare for Prepared<'_> {
    fn with_statement<T>(
        &self,
        sql: &'static str,
        work: impl FnOnce(&mut Statement<'_>) -> Result<T>,
    ) -> Result<T> {
        let Ok(mut held) = self.held.try_borrow_mut() else {
            // Within another statement's work.
            return self.connection.with_statement(sql, work);
        };
        let known = held.iter_mut().find(|(text, _)| std::ptr::eq(*text, sql));
        if let Some((_, statement)) = known {
            statement.clear_bindings();
            return work(statement);
        }
        let mut statement = self.connection.prepare_cached(sql)?;
        let outcome = work(&mut statement);
        held.push((sql, statement));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: &str = "INSERT INTO t (a, b) VALUES (?1, ?2)";

    fn rows(connection: &Connection) -> Vec<(i64, Option<i64>)> {
        let mut statement = connection.prepare("SELECT a, b FROM t ORDER BY a").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(|row| row.unwrap()).collect()
    }

    #[test]
    fn what_was_bound_before_is_not_bound_any_more() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a, b)").unwrap();
        let prepared = Prepared::new(&connection);
        for (a, b) in [(1, Some(10)), (2, None)] {
            prepared
                .with_statement(INSERT, |statement| {
                    statement.raw_bind_parameter(1, a)?;
                    if let Some(b) = b {
                        statement.raw_bind_parameter(2, b)?;
                    }
                    Ok(statement.raw_execute()?)
                })
                .unwrap();
        }
        assert_eq!(rows(&connection), [(1, Some(10)), (2, None)]);
        assert_eq!(prepared.held.borrow().len(), 1);
    }

    #[test]
    fn a_statement_is_as_good_as_new_after_a_failure_and_a_rollback() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (a UNIQUE, b)")
            .unwrap();
        let prepared = Prepared::new(&connection);
        let insert = |a: i64| {
            prepared.with_statement(INSERT, |statement| {
                statement.raw_bind_parameter(1, a)?;
                Ok(statement.raw_execute()?)
            })
        };
        prepared.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(1).unwrap();
        prepared.execute_batch("SAVEPOINT job").unwrap();
        assert!(insert(1).is_err());
        prepared
            .execute_batch("ROLLBACK TO job; RELEASE job")
            .unwrap();
        insert(2).unwrap();
        prepared.execute_batch("COMMIT").unwrap();
        assert_eq!(rows(&connection), [(1, None), (2, None)]);
    }
}
