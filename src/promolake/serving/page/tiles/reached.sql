-- The newest event time of each topic: not shown itself, but what says which minutes are final.
SELECT topic, MAX(newest_event_time) AS newest_event_time
FROM sums.ledger
GROUP BY topic
