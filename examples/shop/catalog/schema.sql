CREATE TABLE products (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL,
    category TEXT    NOT NULL,
    cents    INTEGER NOT NULL
);
CREATE INDEX products_in_category ON products (category, name);

-- A basket is what somebody has bought at once.
CREATE TABLE purchases (
    basket  INTEGER NOT NULL,
    product INTEGER NOT NULL,
    PRIMARY KEY (basket, product)
) WITHOUT ROWID;

-- 48 products: twelve places, and four things from each.
WITH
    places (place) AS (VALUES
        ('Brazil'), ('Ceylon'), ('Darjeeling'), ('Ecuador'), ('Ghana'), ('Java'),
        ('Kenya'), ('Madagascar'), ('Nepal'), ('Peru'), ('Tanzania'), ('Yunnan')),
    things (category, cents) AS (VALUES
        ('cocoa', 450), ('coffee', 790), ('pepper', 320), ('tea', 560))
INSERT INTO products (name, category, cents)
SELECT place || ' ' || category, category, cents + 10 * length(place)
FROM places, things ORDER BY place, category;

-- 4,000 baskets, with up to four products in each. These sums look like chance, and are the
-- same each time.
WITH RECURSIVE
    baskets (basket) AS (SELECT 1 UNION ALL SELECT basket + 1 FROM baskets WHERE basket < 4000),
    items (item) AS (VALUES (1), (2), (3), (4))
INSERT OR IGNORE INTO purchases (basket, product)
SELECT basket, 1 + (basket * 2654435761 + item * 40503) / 1000 % 48
FROM baskets, items;
CREATE INDEX purchases_of_product ON purchases (product);
