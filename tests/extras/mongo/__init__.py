"""Tests of MongoDB: on the wire server of tests/support/mongo_wire, or on TEST_MONGODB_URL."""
