"""Typed, batched, repeatable calls over the ArmoniK gRPC API."""
