//! One request to the database: its turn, its count, its error.

use std::time::Duration;

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::response::PagingState;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::Row;
use stoker_domain::ports::store::StoreError;

use stoker_telemetry::trace::Remote;
use tracing::{Instrument, Span};

use super::connect::never_again;
use super::lanes::Lane;
use super::{CassandraStore, spread};

/// Rows of one batch on one partition.
pub(super) const BATCH_ROWS: usize = 200;
/// Bytes of it: what a node takes in one go without its neighbours noticing.
pub(super) const BATCH_BYTES: usize = 64 << 10;

/// How often a serial read is tried that met a conditional write.
const SERIAL_TRIES: u32 = 3;
/// The pause after the first of them; a random part comes on top.
const SERIAL_PAUSE: Duration = Duration::from_millis(20);

/// True for a serial read that gave up because it met others. Those start anew when they meet, too, and the driver
/// sends none of them again.
fn met(statement: &PreparedStatement, error: &ExecutionError) -> bool {
    let serial = matches!(statement.get_consistency(), Some(Consistency::LocalSerial));
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) = error else {
        return false;
    };
    serial && matches!(error, DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. })
}

fn text(statement: &BatchStatement) -> String {
    match statement {
        BatchStatement::Query(query) => query.contents.clone(),
        BatchStatement::PreparedStatement(prepared) => prepared.get_statement().to_owned(),
        _ => String::new(),
    }
}

/// The span of a statement, where its caller is traced: its text, without the values.
fn span(statement: &str, rows: usize) -> Span {
    if Remote::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        "statement",
        otel.name = statement.split_whitespace().next(),
        otel.kind = "client",
        db.system.name = "cassandra",
        db.query.text = statement,
        db.operation.batch.size = rows
    )
}

async fn pause_after(tries: u32) {
    let pause = SERIAL_PAUSE * tries;
    tokio::time::sleep(pause + spread(pause)).await;
}

/// Rows with what each takes, in groups that are written at once.
pub(super) fn groups<T>(rows: Vec<(usize, T)>) -> Vec<Vec<T>> {
    let (mut groups, mut bytes) = (Vec::<Vec<T>>::new(), 0);
    for (size, row) in rows {
        match groups.last_mut() {
            Some(group) if group.len() < BATCH_ROWS && bytes + size <= BATCH_BYTES => {
                group.push(row);
                bytes += size;
            }
            _ => {
                groups.push(vec![row]);
                bytes = size;
            }
        }
    }
    groups
}

/// How a conditional write ended.
#[derive(Debug)]
pub(super) enum Applied {
    /// It was carried out.
    Yes,
    /// It was not; a column of the row that is there, as the caller asked for it.
    No(Option<i64>),
}

/// The values of one statement of a batch.
pub(super) type Values = Box<dyn SerializeRow + Send + Sync>;

impl CassandraStore {
    fn counted<T>(&self, action: &str, result: Result<T, ExecutionError>) -> Result<T, StoreError> {
        self.counters.request(result.is_ok());
        result.map_err(|error| {
            let error = self.place.trouble(action, &error);
            if matches!(error, StoreError::Overloaded(_)) {
                self.counters.count(|counters| &counters.overloaded, 1);
            }
            error
        })
    }

    /// Waits for a turn; says so when there was none.
    pub(super) async fn turn<'a>(
        &self,
        lane: &'a Lane,
    ) -> Result<tokio::sync::SemaphorePermit<'a>, StoreError> {
        lane.turn().await.inspect_err(|error| {
            if matches!(error, StoreError::Overloaded(_)) {
                self.counters.count(|counters| &counters.overloaded, 1);
            }
        })
    }

    /// Reads at most as many rows as the statement's own limit.
    pub(super) async fn read(
        &self,
        action: &str,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, StoreError> {
        let _turn = self.turn(&self.reads).await?;
        let began = std::time::Instant::now();
        let mut tries = 1;
        let result = loop {
            let result = Box::pin(self.session.execute_unpaged(statement, &values))
                .instrument(span(statement.get_statement(), 1))
                .await;
            match result {
                Err(error) if met(statement, &error) && tries < SERIAL_TRIES => pause_after(tries).await,
                result => break result,
            }
            tries += 1;
        };
        self.counters.read(began.elapsed());
        self.counted(action, result)?.into_rows_result().map_err(|error| self.place.odd(action, error))
    }

    /// Reads all rows, page by page.
    pub(super) async fn read_all(
        &self,
        action: &str,
        statement: &PreparedStatement,
        values: impl SerializeRow + Clone,
        mut each: impl FnMut(QueryRowsResult) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = PagingState::start();
        loop {
            let _turn = self.turn(&self.reads).await?;
            let began = std::time::Instant::now();
            let mut tries = 1;
            let page = loop {
                let page = self.session.execute_single_page(statement, values.clone(), state.clone());
                match Box::pin(page).instrument(span(statement.get_statement(), 1)).await {
                    Err(error) if met(statement, &error) && tries < SERIAL_TRIES => pause_after(tries).await,
                    page => break page,
                }
                tries += 1;
            };
            self.counters.read(began.elapsed());
            let (result, next) = self.counted(action, page)?;
            each(result.into_rows_result().map_err(|error| self.place.odd(action, error))?)?;
            match next.into_paging_control_flow() {
                std::ops::ControlFlow::Break(()) => return Ok(()),
                std::ops::ControlFlow::Continue(next) => state = next,
            }
        }
    }

    /// One write that may be sent again, with our own timestamp unless the statement itself has one.
    pub(super) async fn write(
        &self,
        lane: &Lane,
        action: &str,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        stamp: Option<i64>,
    ) -> Result<(), StoreError> {
        let _turn = self.turn(lane).await?;
        let mut statement = statement.clone();
        statement.set_timestamp(stamp);
        let result = Box::pin(self.session.execute_unpaged(&statement, values))
            .instrument(span(statement.get_statement(), 1))
            .await;
        self.counted(action, result).map(drop)
    }

    /// Writes rows of one partition together; they may be sent again. More than [`BATCH_ROWS`] are for the caller to
    /// split.
    pub(super) async fn write_rows<V: SerializeRow>(
        &self,
        lane: &Lane,
        action: &str,
        statement: &PreparedStatement,
        mut rows: Vec<V>,
        stamp: Option<i64>,
    ) -> Result<(), StoreError> {
        if rows.len() <= 1 {
            return match rows.pop() {
                Some(row) => self.write(lane, action, statement, row, stamp).await,
                None => Ok(()),
            };
        }
        let statements = vec![BatchStatement::from(statement.clone()); rows.len()];
        self.write_batch(lane, action, statements, rows, stamp).await
    }

    /// The same with a statement for each row, of tables whose partitions have one name.
    pub(super) async fn write_batch<V: SerializeRow>(
        &self,
        lane: &Lane,
        action: &str,
        statements: Vec<BatchStatement>,
        rows: Vec<V>,
        stamp: Option<i64>,
    ) -> Result<(), StoreError> {
        let (size, first) = (statements.len(), statements.first().map_or_else(String::new, text));
        // Of one partition, so it needs no log to be whole.
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_timestamp(stamp);
        batch.set_is_idempotent(true);
        let _turn = self.turn(lane).await?;
        let result = Box::pin(self.session.batch(&batch, rows)).instrument(span(&first, size)).await;
        self.counted(action, result).map(drop)
    }

    /// One conditional write. The turn is the caller's affair: commits wait longer.
    pub(super) async fn conditional(
        &self,
        action: &str,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        column: &str,
    ) -> Result<Applied, StoreError> {
        let result = Box::pin(self.session.execute_unpaged(statement, values))
            .instrument(span(statement.get_statement(), 1))
            .await;
        self.applied(action, self.counted(action, result)?, column)
    }

    /// Conditional writes of one partition, all or nothing.
    pub(super) async fn conditional_batch(
        &self,
        action: &str,
        statements: Vec<BatchStatement>,
        values: Vec<Values>,
        column: &str,
    ) -> Result<Applied, StoreError> {
        let (size, first) = (statements.len(), statements.first().map_or_else(String::new, text));
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_retry_policy(Some(never_again()));
        let result = Box::pin(self.session.batch(&batch, values)).instrument(span(&first, size)).await;
        self.applied(action, self.counted(action, result)?, column)
    }

    fn applied(&self, action: &str, result: QueryResult, column: &str) -> Result<Applied, StoreError> {
        let rows = result.into_rows_result().map_err(|error| self.place.odd(action, error))?;
        let index = rows.column_specs().get_by_name(column).map(|(index, _)| index);
        let row = rows.first_row::<Row>().map_err(|error| self.place.odd(action, error))?;
        let get = |index: Option<usize>| index.and_then(|index| row.columns.get(index)?.as_ref());
        // The first column always is whether it was applied.
        match get(Some(0)).and_then(scylla::value::CqlValue::as_boolean) {
            Some(true) => Ok(Applied::Yes),
            Some(false) => Ok(Applied::No(get(index).and_then(scylla::value::CqlValue::as_bigint))),
            None => Err(self.place.odd(action, "the answer does not say whether it was applied")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_bounded_by_rows_and_by_bytes() {
        let sizes = |rows: Vec<(usize, ())>| groups(rows).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0usize; 0]);
        assert_eq!(sizes(vec![(1, ()); 450]), [200, 200, 50]);
        assert_eq!(sizes(vec![(30 << 10, ()); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![(100 << 10, ()); 2]), [1, 1], "one that is greater goes alone");
    }
}
