-- What did each device last say of each metric in the last day, and how long ago?
SELECT
    device,
    metric,
    argMax(if(text != '', text, toString(value)), ts) AS latest,
    max(ts) AS at,
    dateDiff('second', at, now64(3)) AS seconds_ago
FROM muster.samples
WHERE ts > now64(3) - INTERVAL 1 DAY
GROUP BY device, metric
ORDER BY device, metric
