"""Finetune: how much accuracy comes back?"""
