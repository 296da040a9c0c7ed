"""A folder that is watched: each new image that is complete is judged once."""
