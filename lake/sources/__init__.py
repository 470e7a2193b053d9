"""Where bars come from: files and the market simulator; networks belong to DataOps only."""
