"""Guided lessons: content as data, questions judged from geometry and tensors, and their page."""

from .course import Course, Lesson, Step, load_lessons, parse_lessons
from .question import Grade, Question, Scene, grade

__all__ = ["Course", "Grade", "Lesson", "Question", "Scene", "Step", "grade", "load_lessons", "parse_lessons"]
