-- How many bytes does each table take, and how many a row?
SELECT
    p.table AS table,
    sum(p.rows) AS rows,
    formatReadableSize(sum(p.bytes_on_disk)) AS on_disk,
    round(sum(p.bytes_on_disk) / greatest(sum(p.rows), 1), 2) AS bytes_a_row,
    round(sum(p.data_uncompressed_bytes) / greatest(sum(p.data_compressed_bytes), 1), 1) AS compressed_times,
    count() AS parts,
    uniqExact(p.partition) AS partitions
FROM system.parts AS p
WHERE p.active AND p.database = 'muster'
GROUP BY p.table
ORDER BY sum(p.bytes_on_disk) DESC
