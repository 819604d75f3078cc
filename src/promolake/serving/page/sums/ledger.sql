-- How far each topic has come.
SELECT topic, MAX(newest_event_time) AS newest_event_time
FROM file
GROUP BY topic
