"""The ground floor: what may pass between rooms. Imports no other room."""
