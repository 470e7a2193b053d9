"""A market made by seed: what demonstrations and tests run on, and always called simulated."""

from __future__ import annotations

from quantctl.lake.sources.simulator.market import SimulatedMarket, Simulation, simulate

__all__ = ["SimulatedMarket", "Simulation", "simulate"]
