"""The page for business users: server-rendered, complete without JavaScript, on the API's server."""
