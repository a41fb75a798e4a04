"""The embedded engine: one base in torch, many adapters over it, answers that join and leave between steps.

Read in this order: engine (what the gateway calls), worker (the thread that computes), batched (one step over all
rows), attention and cache (what rows remember), overlay and sites (adapters), sampling.
"""
