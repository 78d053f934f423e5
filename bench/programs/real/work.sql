-- Fills two tables, indexes, joins, groups, updates and deletes, all in memory.
CREATE TABLE guest(id INTEGER PRIMARY KEY, name TEXT, house INTEGER);
CREATE TABLE stay(guest INTEGER, night INTEGER, price REAL);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < COUNT)
  INSERT INTO guest SELECT i, 'guest ' || (i * 7919 % 1000), i * 31 % 97 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3 * COUNT)
  INSERT INTO stay SELECT i * 13 % COUNT + 1, i * 37 % 365, i % 50 + 20.5 FROM n;
COMMIT;
CREATE INDEX by_house ON guest(house);
CREATE INDEX by_guest ON stay(guest, night);
SELECT house, count(*), round(sum(price), 2) FROM guest JOIN stay ON stay.guest = guest.id
  GROUP BY house ORDER BY 3 DESC, 1 LIMIT 5;
SELECT name, count(*) FROM guest WHERE name LIKE '%7%' GROUP BY name ORDER BY 2 DESC, 1 LIMIT 5;
UPDATE stay SET price = price * 1.1 WHERE night BETWEEN 100 AND 200;
DELETE FROM guest WHERE id % 3 = 0;
SELECT count(*), round(avg(price), 4) FROM stay WHERE guest IN (SELECT id FROM guest WHERE house < 20);
