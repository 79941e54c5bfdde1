"""The page's views: each returns nodes for what a controller knows, and changes nothing."""
