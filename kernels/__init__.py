"""Statistics and geometry of vocabulary-sized logits that never outlive a chunk.

`reference` is the specification in plain torch and serves the CPU, `triton_rows` a GPU, `dispatch`
chooses between them; `head` projects hidden states chunk by chunk and reduces each chunk at once;
`geometry` answers questions about whole logit vectors from hidden states alone.
"""
